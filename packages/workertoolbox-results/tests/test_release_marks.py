"""Marks of releases: each release has one, and their names do not overlap."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from cadasta.workertoolbox.results import Release
from cadasta.workertoolbox.results.web.drawing.release_marks import (
    Mark,
    Placed,
    place_marks,
)

AT = datetime(2026, 11, 28, tzinfo=UTC)


def marks(*placed: tuple[float, str]) -> Sequence[Mark]:
    return place_marks(
        [
            Placed(place, Release(service="shop", version=version, first_at=AT))
            for place, version in placed
        ]
    )


def test_releases_that_are_far_apart_have_their_versions_as_names() -> None:
    first, middle, last = marks((0.01, "1.3"), (0.5, "1.4"), (0.99, "1.5"))

    assert [each.name for each in (first, middle, last)] == ["1.3", "1.4", "1.5"]
    assert [each.anchor for each in (first, middle, last)] == [
        *("start", "middle", "end")
    ]
    assert middle.lines == [middle.place] == [0.5]


def test_releases_that_are_close_together_have_their_number_as_name() -> None:
    mark, other = marks((0.4, "1.3"), (0.42, "1.4"), (0.44, "1.5"), (0.9, "1.6"))

    assert (mark.name, mark.lines) == ("3 releases", [0.4, 0.42, 0.44])
    assert [each.version for each in mark.releases] == ["1.3", "1.4", "1.5"]
    assert other.name == "1.6"


def test_services_that_release_the_same_version_share_its_name() -> None:
    [mark] = marks((0.4, "1.3"), (0.4, "1.3"), (0.41, "1.3"))

    assert (mark.name, mark.lines) == ("1.3", [0.4, 0.41])


def test_a_long_version_is_cut_off() -> None:
    [mark] = marks((0.5, "4f2a9c1e0b7d"), (0.5, "4f2a9c1e0b7d"))
    [long] = marks((0.5, "4f2a9c1e0b7d8"))

    assert (mark.name, long.name) == ("4f2a9c1e0b7d", "4f2a9c1e0b7…")


@given(
    st.lists(
        st.tuples(st.floats(0, 0.999), st.sampled_from(["1", "1.4.0", "x" * 40])),
        max_size=30,
    )
)
def test_names_stay_in_the_chart_and_apart(placed: list[tuple[float, str]]) -> None:
    found = marks(*sorted(placed))
    extents = [each.extent for each in found]

    assert sum(len(each.releases) for each in found) == len(placed)
    assert all(begin > -1e-9 and end < 1 + 1e-9 for begin, end in extents)
    assert all(
        left[1] < right[0] for left, right in zip(extents, extents[1:], strict=False)
    )

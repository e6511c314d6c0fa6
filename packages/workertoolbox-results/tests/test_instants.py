"""Times as people write them on the command line."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone

import pytest

from cadasta.workertoolbox.results import InvalidTime
from cadasta.workertoolbox.results._instants import parse_instant

NOW = datetime(2026, 11, 28, 14, 30, 15, tzinfo=UTC)


@pytest.fixture(autouse=True)
def zone(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Set the local time zone to five hours behind UTC."""
    monkeypatch.setenv("TZ", "XYZ5")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.parametrize(
    ("text", "utc", "local"),
    [
        ("2h", "2026-11-28 12:30:15", "2026-11-28 12:30:15"),
        (" 30d ", "2026-10-29 14:30:15", "2026-10-29 14:30:15"),
        ("now", "2026-11-28 14:30:15", "2026-11-28 14:30:15"),
        ("Today", "2026-11-28 00:00:00", "2026-11-28 05:00:00"),
        ("yesterday", "2026-11-27 00:00:00", "2026-11-27 05:00:00"),
        ("14:30", "2026-11-28 14:30:00", "2026-11-27 19:30:00"),
        ("9:05:01", "2026-11-28 09:05:01", "2026-11-28 14:05:01"),
        ("14:31", "2026-11-27 14:31:00", "2026-11-27 19:31:00"),
        ("2026-11-27", "2026-11-27 00:00:00", "2026-11-27 05:00:00"),
        ("2026-11-27 08:00", "2026-11-27 08:00:00", "2026-11-27 13:00:00"),
        ("2026-11-27T08:00:00Z", "2026-11-27 08:00:00", "2026-11-27 08:00:00"),
        ("2026-11-27T08:00+01:00", "2026-11-27 07:00:00", "2026-11-27 07:00:00"),
    ],
)
def test_a_time_is_in_utc_or_in_the_local_zone(text: str, utc: str, local: str) -> None:
    for zone, expected in ((UTC, utc), (None, local)):
        found = parse_instant(text, now=NOW, zone=zone)

        assert found.tzinfo is not None
        assert f"{found.astimezone(UTC):%Y-%m-%d %H:%M:%S}" == expected


@pytest.mark.parametrize(
    "text",
    [
        *("", " ", "2", "soon", "-2h", "25:00", "12:60", "2026-13-01", "2026-11-27T"),
        *(
            "9999-12-31T23:59:59-12:00",
            "99999999d",
            "nan",
            "1e3h",
            "²:30",
            "0001-01-01T00:00+01:00",
            "9999-12-31T23:59:59.999999-00:01",
        ),
    ],
)
@pytest.mark.parametrize("zone", [UTC, None, timezone(timedelta(hours=14))])
def test_other_texts_are_refused_with_a_list_of_forms(
    text: str, zone: timezone | None
) -> None:
    with pytest.raises(InvalidTime, match=r"is not a time; write .*2026-11-27T14:30"):
        parse_instant(text, now=NOW, zone=zone)


@pytest.mark.parametrize(
    ("text", "hours"), [("0001-01-01T00:00", 9), ("9999-12-31T23:59", -5)]
)
def test_a_time_that_utc_does_not_have_is_refused(text: str, hours: int) -> None:
    with pytest.raises(InvalidTime):
        parse_instant(text, now=NOW, zone=timezone(timedelta(hours=hours)))

"""The shape of an error's message."""

from __future__ import annotations

import time

import pytest

from cadasta.workertoolbox.results._backend.message_shape import (
    MAX_LENGTH,
    message_shape,
)


@pytest.mark.parametrize(
    "pair",
    [
        ("user 42 is unknown", "user 7,000 is unknown"),
        ("balance of -1.5e-10 left", "balance of 3 left"),
        (
            "order 7c9e6679-7425-40de-944b-e07fc1f90ae7 is gone",
            "order 0B9E6679742540DE944BE07FC1F90AE7 is gone",
        ),
        ("cus_Nffr93 was declined", "cus_81xB was declined"),
        ("commit deadbeefcafe is lost", "commit 12ab34f is lost"),
        ("<Map object at 0x7f3a> is empty", "<Map object at 0x9c01d> is empty"),
        ("no such file: /srv/maps/a.tif", "no such file: ~/b/c"),
        ("no such file: out/a/b", "no such file: docs/c.md"),
        (r"no such file: C:\maps\a.tif", r"no such file: \\host\share\b"),
        ("GET http://a.example/x?y=1 failed", "GET https://b.example failed"),
        ("mail to ann@example.org failed", "mail to bo+1@mail.example.com failed"),
        ("since 2026-11-28T10:00:00Z", "since 2026-11-28 10:00:00.123456+00:00"),
        ("since Sat Nov 28 15:01:58 2026", "since Fri, 1 May 2026 09:00:00"),
        ("due at 9:30, late", "due at 12:30:11.5, late"),
        ("can't open 'a b'", "can't open 'c'"),
        ("field 'it's' is missing", 'field "name" is missing'),
        ("expected b'\\x00'", "expected “nothing”"),
        ("no route to 10.0.0.1:5432", "no route to 192.168.1.20"),
        ("ids [1, 2, 3] are gone", "ids [5] are gone"),
        ("row 1\nDETAIL: a", "row 2\nDETAIL: quite another one"),
    ],
)
def test_messages_that_differ_in_variable_parts_have_one_shape(
    pair: tuple[str, str],
) -> None:
    first, second = map(message_shape, pair)

    assert first == second
    assert "<" in first


@pytest.mark.parametrize(
    "message",
    [
        "read and/or write",
        "the user's list isn't complete",
        "market data is not available",
        "no such map",
        "",
    ],
)
def test_the_words_of_a_message_stay(message: str) -> None:
    assert message_shape(message) == message


@pytest.mark.parametrize(
    "part", ["'", " 'a", '"\\', "a-", "/a", "1.", "a.b@", "a://", "“", "<id> ", "mon "]
)
def test_the_time_for_a_hostile_message_is_bounded(part: str) -> None:
    begun_at = time.process_time()
    message_shape(part * 1_000_000)

    assert time.process_time() - begun_at < 1
    assert len(message_shape(part * 1_000_000)) <= MAX_LENGTH * len("<text>")

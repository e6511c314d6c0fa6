from __future__ import annotations

import json
import pickle
import zlib
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from messages import PUBLISHED_AT, message

from cadasta.workertoolbox.results._arguments.redaction import Redaction
from cadasta.workertoolbox.results._monitor.decompression import MAX_BODY
from cadasta.workertoolbox.results._monitor.message import (
    MAX_KEPT,
    Unreadable,
    quarantine_record,
    read_task,
)

#: A list in a list, 500 times.
NESTED: list[Any] = []
for _ in range(500):
    NESTED = [NESTED]

NOW = datetime(2026, 6, 1, tzinfo=UTC)


def test_a_message_becomes_a_record() -> None:
    record = read_task(
        message(group="g", parent_id="p", retries=2, eta="2026-01-02T05:04:05+02:00"),
        seen_at=NOW,
    )

    assert (record.id, record.name, record.queue) == ("1", "export.project", "export")
    assert (record.args, record.kwargs) == (["a"], {"b": 1})
    assert (record.root_id, record.parent_id, record.group_id) == ("1", "p", "g")
    assert record.retries == 2
    assert record.scheduled_at == datetime.fromisoformat(PUBLISHED_AT)
    assert record.eta == datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    assert record.seen_at == NOW


@pytest.mark.parametrize(
    "delivery_info",
    [
        {"exchange": "task_exchange", "routing_key": "export"},
        {
            "exchange": "",
            "routing_key": "platform.fifo",
            "workertoolbox_routing_key": "export",
        },
        {"exchange": "celery_delayed_27", "routing_key": "0.1." * 14 + "export"},
    ],
)
def test_the_queue_is_the_one_it_was_published_for(
    delivery_info: dict[str, str],
) -> None:
    one = message()
    one.delivery_info = delivery_info

    assert read_task(one, seen_at=NOW).queue == "export"


def test_without_a_publishers_instant_the_monitors_counts() -> None:
    record = read_task(message(workertoolbox_published_at=None), seen_at=NOW)

    assert record.scheduled_at == NOW


def test_an_eta_without_a_zone_is_utc() -> None:
    record = read_task(message(eta="2026-01-02T03:04:05"), seen_at=NOW)

    assert record.eta == datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def test_what_postgresql_refuses_is_written_in_an_escaped_form() -> None:
    body = r'[["a\u0000b", "\ud800", NaN, -Infinity, {"\u0000": 1e400}], {}, {}]'
    record = read_task(message(body), seen_at=NOW)

    assert record.args == [
        r"a\x00b",
        r"\ud800",
        "NaN",
        "-Infinity",
        {r"\x00": "Infinity"},
    ]


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        (message("{"), "no JSON"),
        (message(""), "no JSON"),
        (message("[" * 10_000 + "]" * 10_000), "no JSON"),
        (message([NESTED, {}, {}]), "nested deeper than 100"),
        (message([[], {"a": NESTED}, {}]), "nested deeper than 100"),
        (message(content_encoding={"a": "dict"}), "encoding"),
        (message(id="x" * 501), "'id' has 501 characters"),
        (message(root_id="\ud800" * 100), "'root_id' has 600 characters"),
        (message({"task": "export.project"}), "no protocol 2"),
        (message([1, 2, 3]), "no protocol 2"),
        (
            message(
                pickle.dumps(([], {}, {})),
                content_type="application/x-python-serialize",
            ),
            "content type",
        ),
        (message(content_encoding="binary"), "encoding"),
        (message(id=None), "'id'"),
        (message(task=""), "'task'"),
        (message(task=7), "'task'"),
        (message(root_id=["1"]), "'root_id'"),
        (message(retries="many"), "'retries'"),
        (message(retries=-1), "'retries'"),
        (message(eta="tomorrow"), "'eta'"),
        (message(eta=5), "'eta'"),
        (message("x", compression="application/x-gzip"), "decompressed"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_is_no_task_message_is_unreadable(wrong: Any, reason: str) -> None:
    with pytest.raises(Unreadable, match=reason):
        read_task(wrong, seen_at=NOW)


def test_an_unreadable_message_is_kept_as_it_came() -> None:
    body = b"\x80\x04pickle"
    record = quarantine_record(
        message(body, tag=b"bytes", when=NOW), reason="because \0", seen_at=NOW
    )

    assert record.body == body
    assert record.reason == r"because \x00"
    assert record.routing_key == "export"
    assert record.headers["task"] == "export.project"
    assert record.headers["tag"] == repr(b"bytes")


def test_headers_of_any_kind_are_kept() -> None:
    deep, dated = (
        quarantine_record(message(b"x", odd=odd), reason="r", seen_at=NOW).headers
        for odd in (NESTED, NOW)
    )

    assert list(deep) == ["repr"]
    assert "export.project" in deep["repr"]
    assert dated["odd"] == repr(NOW)


def test_headers_with_keys_of_any_kind_are_kept() -> None:
    odd = message(b"x")
    headers: Any = {b"\xff": 1, "\0": b"\0", 7: float("nan")}
    odd.headers = headers

    kept = quarantine_record(odd, reason="r", seen_at=NOW).headers
    assert kept == {r"b'\xff'": 1, r"\x00": r"b'\x00'", "7": "NaN"}


def test_headers_nested_deeper_than_their_repr_can_be_are_kept() -> None:
    deepest: list[Any] = []
    for _ in range(100_000):
        deepest = [deepest]
    kept = quarantine_record(
        message(b"x", odd=deepest), reason="r", seen_at=NOW
    ).headers
    # One level at a time: Python frees no list that deep in one go.
    while deepest:
        deepest = deepest[0]

    assert list(kept) == ["repr"]


def test_a_reason_is_short_whatever_the_message_is_like() -> None:
    huge = "x" * 100_000
    with pytest.raises(Unreadable) as caught:
        read_task(message(retries=huge), seen_at=NOW)

    assert len(str(caught.value)) < 100
    assert len(quarantine_record(message(), reason=huge, seen_at=NOW).reason) == 500


@pytest.mark.parametrize("text", [b"\xff", {b"\xff": 1}, 7, None, NOW])
def test_what_a_publisher_wants_to_be_shown_is_a_text(text: Any) -> None:
    shown = {"argsrepr": text, "kwargsrepr": "\0"}
    record = read_task(message(workertoolbox_shown=shown), seen_at=NOW)

    assert record.args == ["a"]
    assert record.kwargs == r"\x00"
    json.dumps([record.args, record.kwargs])


def test_a_rule_of_ones_own_may_return_anything() -> None:
    shown: Any = [NOW, (1, "\0")], {3: {b"x"}}
    redaction = Redaction({"*": lambda args, kwargs: shown})
    record = read_task(message(), seen_at=NOW, redaction=redaction)

    assert record.args == [repr(NOW), [1, r"\x00"]]
    assert record.kwargs == {"3": "{b'x'}"}


@pytest.mark.parametrize("body", [None, {"a": 1}, 7, "\ud800", bytearray(b"x")])
def test_a_body_of_any_kind_is_kept(body: Any) -> None:
    odd = message(b"")
    odd.body = body

    assert isinstance(quarantine_record(odd, reason="r", seen_at=NOW).body, bytes)


def test_a_message_that_comes_twice_has_one_digest() -> None:
    first, again, other = (
        quarantine_record(message(body), reason="r", seen_at=NOW + timedelta(seconds=n))
        for n, body in enumerate(("a", "a", "b"))
    )

    assert first.digest == again.digest
    assert first.digest != other.digest


def test_messages_that_differ_in_one_thing_have_digests_of_their_own() -> None:
    odd = [
        message(b"x"),
        message(b"y"),
        message(b"x", content_type="application/x-yaml"),
        message(b"x", content_encoding="binary"),
        message(b"x", routing_key="msg"),
        message(b"x", more=1),
    ]
    kept = [quarantine_record(one, reason="r", seen_at=NOW) for one in odd]

    assert len({record.digest for record in kept}) == len(odd)


def test_a_compressed_message_is_kept_as_it_came() -> None:
    body = zlib.compress(b"[")
    kept = quarantine_record(
        message(body, compression="application/x-gzip"), reason="r", seen_at=NOW
    )

    assert kept.body == body
    assert kept.headers["compression"] == "application/x-gzip"


def test_of_a_huge_body_no_more_is_kept_than_a_database_takes() -> None:
    kept = quarantine_record(message(bytes(MAX_KEPT + 1)), reason="r", seen_at=NOW)

    assert kept.body == bytes(MAX_KEPT)
    assert kept.reason == f"r; {MAX_KEPT} of its {MAX_KEPT + 1} bytes are kept"


def test_a_body_over_the_limit_is_not_read() -> None:
    with pytest.raises(Unreadable, match=f"{MAX_BODY + 12} bytes, more than"):
        read_task(message(f'[["{"x" * MAX_BODY}"],{{}},{{}}]'), seen_at=NOW)


@pytest.mark.parametrize("unread", [{"error": "half of it"}, "half of it"])
def test_what_is_no_message_has_the_reason_of_who_found_that(unread: Any) -> None:
    odd = message("x", content_type="", workertoolbox_unreadable=unread)
    with pytest.raises(Unreadable, match="^it is no message: half of it$"):
        read_task(odd, seen_at=NOW)

from __future__ import annotations

import json
import pickle
import zlib
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from messages import PUBLISHED_AT, message

from cadasta.workertoolbox.results._arguments.redaction import Redaction
from cadasta.workertoolbox.results._history.clocks import MAX_LEAD
from cadasta.workertoolbox.results._monitor.message import is_probe, read_task
from cadasta.workertoolbox.results._monitor.quarantine_record import quarantine_record
from cadasta.workertoolbox.results._monitor.records import TaskRecord
from cadasta.workertoolbox.results._monitor.scheduled_runs import ScheduledRun
from cadasta.workertoolbox.results._monitor.size_limits import (
    MAX_BODY_BYTES,
    MAX_QUARANTINED_BYTES,
)
from cadasta.workertoolbox.results._monitor.unreadable import UnreadableMessage
from cadasta.workertoolbox.results._schedules.runs import Run
from cadasta.workertoolbox.results._workflows.steps import Step

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


def test_every_header_becomes_a_column() -> None:
    secret = "s3cret-value"
    following = {"task": "export.zip", "options": {"task_id": "2"}}
    described = {"entry": "nightly", "id": "1", "due_at": "2026-01-01T00:00:00+00:00"}
    seen_at = datetime(2026, 1, 2, tzinfo=UTC)
    record = read_task(
        message(
            [["a", secret], {"password": secret}, {"chain": [following]}],
            group="g",
            parent_id="1",
            replaced_task_nesting=2,
            ignore_result=True,
            timelimit=[30, None],
            origin="gen1@web",
            expires="2026-01-03T03:04:05+00:00",
            workertoolbox_service="shop",
            workertoolbox_service_version="1.2",
            workertoolbox_results_elsewhere="redis",
            workertoolbox_refused="no such queue",
            workertoolbox_beat=described,
            workertoolbox_rerun={"of": "0", "id": "1"},
            tenant="north",
            token=secret,
        ),
        seen_at=seen_at,
    )
    # The clock of the sender is ahead, by more than is believed.
    sent_at = seen_at + MAX_LEAD
    run = Run(
        task_id="1",
        sent_at=sent_at,
        due_at=datetime(2026, 1, 1, tzinfo=UTC),
        next_at=None,
        beat="None gen1@web",
        schedule="",
        timezone=None,
    )

    assert record == TaskRecord(
        id="1",
        name="export.project",
        queue="export",
        args=["a", "********"],
        kwargs={"password": "********"},
        root_id="1",
        parent_id=None,
        group_id="g",
        replaced=2,
        retries=0,
        scheduled_at=sent_at,
        eta=None,
        expires=datetime(2026, 1, 3, 3, 4, 5, tzinfo=UTC),
        origin="gen1@web",
        ignore_result=True,
        seen_at=seen_at,
        published_at=datetime.fromisoformat(PUBLISHED_AT),
        time_limit_s=30.0,
        service="shop",
        schedule="nightly",
        headers={"tenant": "north", "token": "********"},
        rerun_of="0",
        arguments="redacted",
        options={
            "time_limits": [30, None],
            "headers": "redacted",
            "follows": ["chain"],
            "next": {"chain": [following]},
        },
        digest=None,
        results_elsewhere="redis",
        run=ScheduledRun(
            service="shop",
            entry="nightly",
            name="export.project",
            origin="gen1@web",
            started_at=None,
            max_interval_s=None,
            run=run,
            entries=None,
        ),
        planned=(
            Step(
                id="2",
                name="export.zip",
                parent_id="1",
                header_id=None,
                group_id=None,
                queue=None,
                is_of_open_chord=False,
            ),
        ),
        refused="no such queue",
        version="1.2",
    )


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({"workertoolbox_probe": "1"}, True),
        ({"workertoolbox_probe": "1", "task": "export.project"}, False),
        ({"task": "export.project"}, False),
        ({}, False),
        (None, False),
    ],
)
def test_a_probe_names_no_task(headers: Any, *, expected: bool) -> None:
    probe = message()
    probe.headers = headers

    assert is_probe(probe) is expected


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
def test_the_queue_is_the_original_routing_key(
    delivery_info: dict[str, str],
) -> None:
    one = message()
    one.delivery_info = delivery_info

    assert read_task(one, seen_at=NOW).queue == "export"


def test_without_a_publication_time_the_time_of_receipt_is_used() -> None:
    record = read_task(message(workertoolbox_published_at=None), seen_at=NOW)

    assert record.scheduled_at == NOW


def test_an_eta_without_a_zone_is_utc() -> None:
    record = read_task(message(eta="2026-01-02T03:04:05"), seen_at=NOW)

    assert record.eta == datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def test_values_that_postgresql_refuses_are_escaped() -> None:
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
        (message("{"), "not valid JSON"),
        (message(""), "not valid JSON"),
        (message("[" * 10_000 + "]" * 10_000), "not valid JSON"),
        (message([NESTED, {}, {}]), "nested deeper than 100"),
        (message([[], {"a": NESTED}, {}]), "nested deeper than 100"),
        (message(content_encoding={"a": "dict"}), "content encoding"),
        (message(id="x" * 501), "'id' has 501 characters"),
        (message(root_id="\ud800" * 100), "'root_id' has 600 characters"),
        (message({"task": "export.project"}), "protocol 2"),
        (message([1, 2, 3]), "protocol 2"),
        (
            message(
                pickle.dumps(([], {}, {})),
                content_type="application/x-python-serialize",
            ),
            "content type",
        ),
        (message(content_encoding="binary"), "content encoding"),
        (message(id=None), "'id' must be"),
        (message(task=""), "'task' must be"),
        (message(task=7), "'task' must be"),
        (message(root_id=["1"]), "'root_id' must be"),
        (message(retries="many"), "'retries' must be"),
        (message(retries=-1), "'retries' must be"),
        (message(eta="tomorrow"), "'eta' must be"),
        (message(eta=5), "'eta' must be"),
        (message("x", compression="application/x-gzip"), "decompressed"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_message_that_is_not_a_task_message_is_unreadable(
    wrong: Any, reason: str
) -> None:
    with pytest.raises(UnreadableMessage, match=reason):
        read_task(wrong, seen_at=NOW)


def test_an_unreadable_message_is_stored_unchanged() -> None:
    body = b"\x80\x04pickle"
    record = quarantine_record(
        message(body, tag=b"bytes", when=NOW), reason="because \0", seen_at=NOW
    )

    assert record.body == body
    assert record.reason == r"because \x00"
    assert record.routing_key == "export"
    assert record.headers["task"] == "export.project"
    assert record.headers["tag"] == repr(b"bytes")


def test_headers_of_any_type_are_stored() -> None:
    deep, dated = (
        quarantine_record(message(b"x", odd=odd), reason="r", seen_at=NOW).headers
        for odd in (NESTED, NOW)
    )

    assert list(deep) == ["repr"]
    assert "export.project" in deep["repr"]
    assert dated["odd"] == repr(NOW)


def test_header_keys_of_any_type_are_stored() -> None:
    odd = message(b"x")
    headers: Any = {b"\xff": 1, "\0": b"\0", 7: float("nan")}
    odd.headers = headers

    stored = quarantine_record(odd, reason="r", seen_at=NOW).headers
    assert stored == {r"b'\xff'": 1, r"\x00": r"b'\x00'", "7": "NaN"}


def test_headers_nested_too_deep_for_repr_are_stored() -> None:
    deepest: list[Any] = []
    for _ in range(100_000):
        deepest = [deepest]
    stored = quarantine_record(
        message(b"x", odd=deepest), reason="r", seen_at=NOW
    ).headers
    # Python cannot free such a deep list at once, so the loop takes it apart.
    while deepest:
        deepest = deepest[0]

    assert list(stored) == ["repr"]


def test_the_length_of_a_reason_is_limited() -> None:
    huge = "x" * 100_000
    with pytest.raises(UnreadableMessage) as caught:
        read_task(message(retries=huge), seen_at=NOW)

    assert len(str(caught.value)) < 100
    assert len(quarantine_record(message(), reason=huge, seen_at=NOW).reason) == 500


@pytest.mark.parametrize("text", [b"\xff", {b"\xff": 1}, 7, None, NOW])
def test_a_display_repr_is_used_only_if_it_is_a_string(text: Any) -> None:
    shown = {"argsrepr": text, "kwargsrepr": "\0"}
    record = read_task(message(workertoolbox_shown=shown), seen_at=NOW)

    assert record.args == ["a"]
    assert record.kwargs == r"\x00"
    json.dumps([record.args, record.kwargs])


def test_a_redaction_function_may_return_values_of_any_type() -> None:
    shown: Any = [NOW, (1, "\0")], {3: {b"x"}}
    redaction = Redaction({"*": lambda args, kwargs: shown})
    record = read_task(message(), seen_at=NOW, redaction=redaction)

    assert record.args == [repr(NOW), [1, r"\x00"]]
    assert record.kwargs == {"3": "{b'x'}"}


@pytest.mark.parametrize("body", [None, {"a": 1}, 7, "\ud800", bytearray(b"x")])
def test_a_body_of_any_type_is_stored(body: Any) -> None:
    odd = message(b"")
    odd.body = body

    assert isinstance(quarantine_record(odd, reason="r", seen_at=NOW).body, bytes)


def test_a_message_received_twice_has_the_same_digest() -> None:
    first, again, other = (
        quarantine_record(message(body), reason="r", seen_at=NOW + timedelta(seconds=n))
        for n, body in enumerate(("a", "a", "b"))
    )

    assert first.digest == again.digest
    assert first.digest != other.digest


def test_messages_with_any_difference_have_different_digests() -> None:
    odd = [
        message(b"x"),
        message(b"y"),
        message(b"x", content_type="application/x-yaml"),
        message(b"x", content_encoding="binary"),
        message(b"x", routing_key="msg"),
        message(b"x", more=1),
    ]
    stored = [quarantine_record(one, reason="r", seen_at=NOW) for one in odd]

    assert len({record.digest for record in stored}) == len(odd)


def test_a_compressed_message_is_stored_unchanged() -> None:
    body = zlib.compress(b"[")
    stored = quarantine_record(
        message(body, compression="application/x-gzip"), reason="r", seen_at=NOW
    )

    assert stored.body == body
    assert stored.headers["compression"] == "application/x-gzip"


def test_the_stored_part_of_a_huge_body_is_limited() -> None:
    stored = quarantine_record(
        message(bytes(MAX_QUARANTINED_BYTES + 1)), reason="r", seen_at=NOW
    )

    assert stored.body == bytes(MAX_QUARANTINED_BYTES)
    assert stored.reason == (
        f"r; only the first {MAX_QUARANTINED_BYTES} of its "
        f"{MAX_QUARANTINED_BYTES + 1} bytes are stored"
    )


def test_a_body_over_the_limit_is_unreadable() -> None:
    with pytest.raises(
        UnreadableMessage, match=f"{MAX_BODY_BYTES + 12} bytes, more than"
    ):
        read_task(message(f'[["{"x" * MAX_BODY_BYTES}"],{{}},{{}}]'), seen_at=NOW)


@pytest.mark.parametrize("unread", [{"error": "half of it"}, "half of it"])
def test_a_message_that_a_transport_could_not_parse_is_unreadable_for_its_reason(
    unread: Any,
) -> None:
    odd = message("x", content_type="", workertoolbox_unreadable=unread)
    with pytest.raises(UnreadableMessage, match="^not a valid message: half of it$"):
        read_task(odd, seen_at=NOW)


@pytest.mark.parametrize(
    "unit", ["[],", "{},", '{"":0},', "1,", '"",', "[[[[[[[[]]]]]]]],"]
)
@pytest.mark.parametrize("repetitions", [50_000, 2_000_000])
def test_a_small_compressed_body_with_very_many_values_is_refused(
    unit: str, repetitions: int
) -> None:
    body = f"[[{(unit * repetitions)[:-1]}],{{}},{{}}]".encode()
    refused = message(zlib.compress(body, 9), compression="gzip")
    with pytest.raises(UnreadableMessage, match=r"more than \d+ (values|bytes)"):
        read_task(refused, seen_at=NOW)


@pytest.mark.parametrize("compression", [None, "gzip"])
def test_a_large_body_with_few_values_or_numbers_is_read(compression: str) -> None:
    args = [",[{" * 2_000_000, *range(50_000)]
    body = json.dumps([args, {}, {}]).encode()
    sent = zlib.compress(body) if compression else body
    record = read_task(message(sent, compression=compression), seen_at=NOW)

    assert record.args[1:3] == [0, 1]

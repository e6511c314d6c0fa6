"""What the headers of a message say about its sender, and the headers of users."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import pytest
from messages import message

from cadasta.workertoolbox.results import Redaction, TaskStore
from cadasta.workertoolbox.results._arguments.secret_texts import MASK
from cadasta.workertoolbox.results._history.archiver import archive_batch
from cadasta.workertoolbox.results._history.ended_tasks import ArchiveOptions
from cadasta.workertoolbox.results._monitor.message import read_task
from cadasta.workertoolbox.results._monitor.own_headers import (
    MAX_HEADERS,
    MAX_HEADERS_BYTES,
    MAX_VERSION_LENGTH,
    OwnHeaders,
    find_own_headers,
)
from cadasta.workertoolbox.results._monitor.records import TaskRecord
from cadasta.workertoolbox.results._monitor.upserts import write_batch
from cadasta.workertoolbox.results.backend import Backend

NOW = datetime(2026, 6, 1, tzinfo=UTC)

#: What Celery, kombu, RabbitMQ, beat and libraries for tracing add.
OTHERS: dict[str, Any] = {
    "lang": "py",
    "celery_beat_task": True,
    "x-death": [{"count": 1}],
    "x-delivery-count": 2,
    "sentry-trace": "1-2",
    "baggage": "sentry-environment=production",
    "traceparent": "00-1-2-01",
    "workertoolbox_shown": {},
}


def read(redaction: Redaction | None = None, **headers: Any) -> TaskRecord:
    return read_task(
        message(**headers), seen_at=NOW, redaction=redaction or Redaction()
    )


def test_headers_and_stamps_of_a_user_are_kept_and_no_others() -> None:
    stamps = {"tenant": ["t1"], "stage": 2}
    record = read(**OTHERS, order="o1", stage=1, stamps=stamps, stamped_headers=["a"])

    assert record.headers == {"order": "o1", "tenant": ["t1"], "stage": 2}
    assert read(**OTHERS).headers is None


def test_secrets_in_headers_are_masked() -> None:
    redaction = Redaction({"export.*": ["card", 0]})
    found = read(redaction, api_key="k1", card="4711", copy="secret-a", body=None)
    record = read_task(
        message([["secret-a"], {}, {}], api_key="k1", card="4711", copy="of secret-a"),
        seen_at=NOW,
        redaction=redaction,
    )

    assert found.headers == {
        "api_key": MASK,
        "card": MASK,
        "copy": "secret-a",
    }
    assert record.headers == {
        "api_key": MASK,
        "card": MASK,
        "copy": f"of {MASK}",
    }


def test_the_size_and_the_number_of_stored_headers_are_limited() -> None:
    nested: Any = []
    for _ in range(500):
        nested = [nested]
    long = read(a="x" * 2 * MAX_HEADERS_BYTES, b="kept", c=nested).headers
    numbered: dict[str, Any] = {f"h{number:04}": number for number in range(1000)}
    many = read(**numbered).headers

    assert long is not None and many is not None
    assert long["a"] == f"<truncated: {2 * MAX_HEADERS_BYTES + 2} bytes>"
    assert (long["b"], long["c"]) == ("kept", "<nested too deep>")
    assert len(many) == MAX_HEADERS


def own(
    redaction: Redaction | None = None, hidden: Sequence[Any] = (), **headers: Any
) -> OwnHeaders:
    """Return the headers of users in a message of Celery."""
    given = {"lang": "py", "task": "export.project", "id": "1", **headers}
    return find_own_headers(
        "export.project", given, redaction or Redaction(), [*hidden]
    )


def test_headers_without_those_of_users_are_whole() -> None:
    assert own() == own(stamps={}) == own(**OTHERS) == (None, (), True)


def test_the_names_of_stamps_are_known() -> None:
    found = own(order="o1", stage=1, stamps={"tenant": ["t1"], "stage": 2})

    assert found.stamps == ("stage", "tenant")
    assert found.shown == {"order": "o1", "stage": 2, "tenant": ["t1"]}
    assert found.is_whole
    assert own(order="o1", stamps=["tenant"]) == ({"order": "o1"}, (), True)
    assert own(stamps={"lang": 1}) == ({"lang": 1}, ("lang",), True)


def test_names_of_headers_become_texts() -> None:
    given: Any = {"stamps": {7: "b"}, 5: "a"}
    found = find_own_headers("export.project", given, Redaction(), [])

    assert found == ({"5": "a", "7": "b"}, ("7",), True)


def test_a_secret_is_masked_in_every_header() -> None:
    found = own(hidden=["secret-a"], api_key="secret-b", copy="secret-a, secret-b")

    assert found == ({"api_key": MASK, "copy": f"{MASK}, {MASK}"}, (), False)


def test_the_first_headers_by_name_are_kept() -> None:
    numbered: dict[str, Any] = {
        f"h{number:03}": number for number in reversed(range(MAX_HEADERS + 1))
    }
    found = own(stamps={"h100": 1, "h000": 1}, **numbered)
    del numbered["h100"]

    assert found == ({**numbered, "h000": 1}, ("h000",), False)
    assert own(**numbered).is_whole


@pytest.mark.parametrize(
    ("value", "shown", "is_whole"),
    [
        ({"b": 1, "a": {"d": 2.5, "c": None}}, None, True),
        ((1, 2), [1, 2], True),
        (1e16, 1e16, False),  # PostgreSQL stores it as an integer.
        (float("nan"), "NaN", False),
        ("\0", r"\x00", False),
        (b"a", "b'a'", False),
        (
            {
                5,
            },
            "{5}",
            False,
        ),
        ("x" * MAX_HEADERS_BYTES, f"<truncated: {MAX_HEADERS_BYTES + 2} bytes>", False),
    ],
)
def test_headers_are_whole_if_the_stored_ones_equal_those_of_the_message(
    value: Any, shown: Any, is_whole: bool
) -> None:
    found = own(order=value, api="a")

    assert found == (
        {"api": "a", "order": value if shown is None else shown},
        (),
        is_whole,
    )


@pytest.mark.parametrize("depth", [500, 100_000])
def test_headers_that_are_nested_too_deep_are_not_whole(depth: int) -> None:
    nested: Any = []
    for _ in range(depth):
        nested = [nested]

    assert own(order=nested) == ({"order": "<nested too deep>"}, (), False)


@pytest.mark.parametrize(
    ("headers", "version", "elsewhere"),
    [
        ({}, None, None),
        ({"workertoolbox_service_version": "1.2"}, "1.2", None),
        (
            {"workertoolbox_service_version": "v" * MAX_VERSION_LENGTH + "w"},
            "v" * MAX_VERSION_LENGTH,
            None,
        ),
        ({"workertoolbox_service_version": ""}, None, None),
        ({"workertoolbox_results_elsewhere": "redis"}, None, "redis"),
        ({"workertoolbox_results_elsewhere": ["redis"]}, None, None),
    ],
)
def test_a_message_says_which_version_has_sent_it_and_where_its_result_goes(
    headers: dict[str, Any], version: str | None, elsewhere: str | None
) -> None:
    record = read(**headers)

    assert (record.version, record.results_elsewhere) == (version, elsewhere)
    assert record.headers is None


@pytest.mark.parametrize(
    ("headers", "service", "schedule"),
    [
        ({}, None, None),
        ({"workertoolbox_service": "billing"}, "billing", None),
        ({"workertoolbox_service": 5, "workertoolbox_beat": "nightly"}, None, None),
        ({"workertoolbox_beat": {"entry": "nightly", "id": "1"}}, None, "nightly"),
        # A task has passed its headers on to another one.
        ({"workertoolbox_beat": {"entry": "nightly", "id": "2"}}, None, None),
        ({"periodic_task_name": "nightly"}, None, "nightly"),
        (
            {
                "workertoolbox_beat": {"entry": "nightly", "id": "2"},
                "periodic_task_name": "nightly",
            },
            *(None, None),
        ),
        (
            {
                "workertoolbox_beat": {"entry": 5, "id": "1"},
                "periodic_task_name": "nightly",
            },
            *(None, "nightly"),
        ),
        ({"workertoolbox_service": "s" * 600}, "s" * 500, None),
    ],
)
def test_a_message_says_which_service_and_which_entry_have_sent_it(
    headers: dict[str, Any], service: str | None, schedule: str | None
) -> None:
    record = read(**headers)

    assert (record.service, record.schedule) == (service, schedule)
    assert record.headers is None


def test_the_sender_and_the_headers_of_a_task_stay_when_it_is_archived(
    url: str, backend: Backend
) -> None:
    headers: dict[str, Any] = {
        "workertoolbox_service": "billing",
        "periodic_task_name": "nightly",
    }
    records = [
        read(origin="gen1@host", order={"id": 5}, **headers),
        read(id="2", root_id="2"),
    ]
    with TaskStore(url) as store:
        with store.engine.begin() as connection:
            write_batch(connection, records)
        live = [store.get(id) for id in "12"]
        for id in "12":
            backend.store_result(id, None, "SUCCESS")
        with store.engine.begin() as connection:
            assert archive_batch(connection, ArchiveOptions(delay_s=0)) == 2
        archived = [store.get(id) for id in "12"]

    for task, other in (live, archived):
        sender = (task.origin, task.service, task.schedule, task.headers)
        unknown = (other.origin, other.service, other.schedule, other.headers)
        assert sender == ("gen1@host", "billing", "nightly", {"order": {"id": 5}})
        assert unknown == (None, None, None, None)
    assert archived[0].as_json()["headers"] == {"order": {"id": 5}}

"""The archiver closes tasks that expired before a worker started them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from archiving import archive
from celery import Celery, chord, states
from celery.exceptions import TaskRevokedError
from closing import publish, run, shown, statuses, store_state, stored, write
from published_workflows import published, workflow_app

from cadasta.workertoolbox.results._history.ended_tasks import EXPIRED_AFTER_S
from cadasta.workertoolbox.results._history.expired_tasks import close_expired
from cadasta.workertoolbox.results.backend import Backend

EXPIRES = datetime(2026, 1, 2, 4, tzinfo=UTC)

#: When the archiver runs: just after it may close the tasks.
NOW = EXPIRES + timedelta(seconds=EXPIRED_AFTER_S + 1)


@pytest.fixture
def publisher() -> Iterator[Celery]:
    app = workflow_app()
    yield app
    app.close()


def test_a_task_that_expired_before_it_ran_is_revoked(
    app: Celery, backend: Backend
) -> None:
    publish(backend, expires=EXPIRES.isoformat(), retries=0)
    run(backend, close_expired, NOW)
    row = shown(backend)["1"]
    reason = "expired at 2026-01-02T04:00:00+00:00 before a worker started it"

    assert (row["status"], row["queue"], row["tracked"]) == ("REVOKED", "export", 1)
    assert json.loads(row["result"])["exc_message"] == [reason]
    assert row["finished_at"] is not None and row["started_at"] is None
    with pytest.raises(TaskRevokedError, match="expired at"):
        app.AsyncResult("1").get(timeout=1)
    archive(backend)
    assert statuses(backend, ["1"]) == ["REVOKED"]


@pytest.mark.parametrize(
    "expires", [None, NOW + timedelta(seconds=1), NOW - timedelta(seconds=29)]
)
def test_a_task_that_has_not_expired_or_has_just_expired_is_left_alone(
    backend: Backend, expires: datetime | None
) -> None:
    publish(backend, expires=expires and expires.isoformat())
    run(backend, close_expired, NOW)

    assert statuses(backend, ["1"]) == ["QUEUED"]


@pytest.mark.parametrize("state", [states.STARTED, states.RETRY, states.SUCCESS, "OWN"])
def test_an_expired_task_that_has_started_is_left_alone(
    backend: Backend, state: str
) -> None:
    publish(backend, expires=EXPIRES.isoformat())
    result = ValueError("again") if state == states.RETRY else 1
    store_state(backend, "1", state, result)
    before = stored(backend, "1")
    run(backend, close_expired, NOW)

    assert stored(backend, "1") == before
    assert statuses(backend, ["1"]) == [state]


def test_an_expired_retry_is_revoked_and_the_first_attempt_is_kept(
    backend: Backend,
) -> None:
    publish(backend)
    store_state(backend, "1", states.STARTED)
    store_state(backend, "1", states.RETRY, ValueError("again"))
    expires = EXPIRES.isoformat()
    publish(
        backend,
        retries=1,
        expires=expires,
        workertoolbox_published_at="2026-01-02T03:30:00+00:00",
    )
    run(backend, close_expired, NOW)
    row = stored(backend, "1")

    assert (row["status"], row["retries"], row["started_at"]) == ("REVOKED", 1, None)
    [attempt] = row["attempts"]
    assert (attempt["outcome"], attempt["worker"]) == ("RETRY", "a@host")
    assert json.loads(attempt["error"])["exc_message"] == ["again"]
    assert statuses(backend, ["1"]) == ["REVOKED"]


def test_an_end_that_arrives_later_replaces_the_revocation(backend: Backend) -> None:
    publish(backend, expires=EXPIRES.isoformat())
    run(backend, close_expired, NOW)
    archive(backend)
    store_state(backend, "1", states.SUCCESS, 42)
    archive(backend)
    row = shown(backend)["1"]

    assert (row["status"], row["result"]) == ("SUCCESS", "42")
    assert row["worker"] == "a@host"
    assert stored(backend, "1")["attempts"] is None


def test_the_body_of_a_chord_is_not_run_if_a_task_of_its_header_expired(
    publisher: Celery, backend: Backend
) -> None:
    a, b, c = (publisher.signature(name) for name in "abc")
    b.set(expires=EXPIRES)
    records = published(publisher, chord([a, b], c))
    write(backend, records)
    ids: dict[str, Any] = {record.name: record.id for record in records}
    ids["c"] = records[0].planned[0].id
    run(backend, close_expired, NOW)
    rows = shown(backend)

    assert [rows[ids[name]]["status"] for name in "abc"] == [
        *("QUEUED", "REVOKED", "FAILURE")
    ]
    assert rows[ids["c"]]["result"] == json.dumps(f"not run: b[{ids['b']}] expired")

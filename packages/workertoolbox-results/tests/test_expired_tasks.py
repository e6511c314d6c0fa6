"""The archiver closes tasks that expired before a worker started them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from archiving import archive
from celery import Celery, chain, chord, states
from celery.exceptions import TaskRevokedError
from closing import publish, run, shown, statuses, store_state, stored, write
from messages import PUBLISHED_AT
from published_workflows import published, workflow_app
from sqlalchemy import insert

from cadasta.workertoolbox.results._database.tables import planned, taskmeta
from cadasta.workertoolbox.results._history import expired_tasks
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


def test_an_expired_task_whose_outcome_is_not_stored_here_is_left_alone(
    backend: Backend,
) -> None:
    expires = EXPIRES.isoformat()
    publish(backend, expires=expires, workertoolbox_results_elsewhere="redis")
    run(backend, close_expired, NOW)

    assert statuses(backend, ["1"]) == ["QUEUED"]


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


def test_the_revocation_says_what_the_message_said(backend: Backend) -> None:
    publish(
        backend,
        **{"expires": EXPIRES.isoformat(), "retries": 2, "root_id": "r"},
        **{"parent_id": "p", "group": "g"},
    )
    run(backend, close_expired, NOW)
    row = {name: value for name, value in stored(backend, "1").items() if value}
    reason = "expired at 2026-01-02T04:00:00+00:00 before a worker started it"
    error = {
        "exc_type": "TaskRevokedError",
        "exc_message": [reason],
        "exc_module": "celery.exceptions",
    }

    assert json.loads(row.pop("result")) == error
    assert row.pop("id")
    assert row == {
        **{"task_id": "1", "status": "REVOKED", "name": "export.project"},
        **{"queue": "export", "root_id": "r", "parent_id": "p", "group_id": "g"},
        **{"retries": 2, "date_done": NOW.replace(tzinfo=None)},
        "published_at": datetime.fromisoformat(PUBLISHED_AT),
    }


RETRIED: dict[str, Any] = {
    **{"task_id": "1", "status": states.RETRY, "retries": 0, "queue": "export"},
    **{"date_done": datetime(2026, 1, 2, 3, 20), "worker": "a@host"},
    **{"result": b'{"a": 1}', "traceback": "Traceback", "error_group": "1:ab"},
    **{"started_at": datetime(2026, 1, 2, 3, 10, tzinfo=UTC), "waited_s": 5.0},
    "published_at": datetime(2026, 1, 2, 3, tzinfo=UTC),
}

#: How the attempt of that state is kept.
ATTEMPT = {
    **{"retries": 0, "queue": "export", "worker": "a@host", "outcome": "RETRY"},
    **{"error": '{"a": 1}', "traceback": "Traceback", "error_group": "1:ab"},
    "published_at": "2026-01-02T03:00:00+00:00",
    "started_at": "2026-01-02T03:10:00+00:00",
    "finished_at": "2026-01-02T03:20:00",
}


def expire_retry(backend: Backend, **values: Any) -> Any:
    """Let a retry expire after a stored state; return what is stored then."""
    with backend.database.engine.begin() as connection:
        other = {**RETRIED, "task_id": "other", "worker": "b@host"}
        connection.execute(insert(taskmeta).values(other))
        connection.execute(insert(taskmeta).values({**RETRIED, **values}))
    again = "2026-01-02T03:30:00+00:00"
    publish(
        backend,
        retries=1,
        expires=EXPIRES.isoformat(),
        workertoolbox_published_at=again,
    )
    run(backend, close_expired, NOW)
    assert stored(backend, "other")["status"] == "RETRY"
    return stored(backend, "1")


def test_the_revocation_of_a_retry_has_nothing_of_the_attempt_before_it(
    backend: Backend,
) -> None:
    row = expire_retry(backend)

    assert row["attempts"] == [ATTEMPT]
    assert (row["status"], row["retries"]) == ("REVOKED", 1)
    assert row["date_done"] == NOW.replace(tzinfo=None)
    assert row["published_at"] == datetime(2026, 1, 2, 3, 30, tzinfo=UTC)
    assert "before a worker started it" in row["result"].decode()
    names = ("traceback", "error_group", "started_at", "waited_s", "worker")
    assert [row[name] for name in names] == [None] * 5
    assert row["queue"] == "export"


def test_the_steps_after_an_expired_retry_are_closed(backend: Backend) -> None:
    step = {"id": "2", "name": "export.map", "parent_id": "1"}
    with backend.database.engine.begin() as connection:
        connection.execute(insert(planned).values(**step, seen_at=EXPIRES))
    expire_retry(backend)
    row = stored(backend, "2")

    assert row["status"] == "REVOKED"
    assert row["not_run"] == "not run: export.project[1] expired"


def test_the_oldest_of_too_many_attempts_are_dropped(
    backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(expired_tasks, "MAX_ATTEMPTS", 2)
    earlier = [{**ATTEMPT, "worker": name} for name in ("b@host", "c@host")]

    assert expire_retry(backend, attempts=earlier)["attempts"] == [earlier[1], ATTEMPT]


@pytest.mark.parametrize(
    "values", [{"retries": 1}, {"retries": 2}, {"status": states.STARTED}]
)
def test_an_attempt_that_has_begun_is_left_alone(
    backend: Backend, values: dict[str, Any]
) -> None:
    row = expire_retry(backend, **values)

    assert {name: row[name] for name in RETRIED} == {**RETRIED, **values}


def test_a_task_that_is_not_closed_leaves_the_steps_after_it_alone(
    publisher: Celery, backend: Backend
) -> None:
    a, b = (publisher.signature(name) for name in "ab")
    records = published(publisher, chain(a.set(expires=EXPIRES), b))
    write(backend, records)
    [record] = records
    store_state(backend, record.id, states.STARTED)
    run(backend, close_expired, NOW)

    assert statuses(backend, [record.planned[0].id]) == ["PLANNED"]


def test_the_newest_tasks_are_looked_at_each_time_and_the_others_in_turn(
    backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(expired_tasks, "STEP_SIZE", 1)
    for id, seconds in (("1", 3), ("2", 0), ("3", 1), ("4", 2), ("5", 60)):
        expires = EXPIRES - timedelta(seconds=10 - seconds)
        publish(backend, id=id, expires=expires.isoformat())
    positions: dict[str, Any] = {}
    found = []
    for _ in range(3):
        run(backend, close_expired, NOW, positions=positions)
        found.append("".join(statuses(backend, "12345")).replace("QUEUED", "-"))

    closed = [each.replace("REVOKED", "x") for each in found]
    assert closed == ["xx---", "xxx--", "xxxx-"]


@pytest.mark.parametrize(("seconds", "status"), [(0, "QUEUED"), (1, "REVOKED")])
def test_a_task_is_closed_some_time_after_its_expiry(
    backend: Backend, seconds: int, status: str
) -> None:
    publish(backend, expires=EXPIRES.isoformat())
    now = EXPIRES + timedelta(seconds=90 + seconds)
    run(backend, close_expired, now, expired_after_s=90.0)

    assert statuses(backend, ["1"]) == [status]

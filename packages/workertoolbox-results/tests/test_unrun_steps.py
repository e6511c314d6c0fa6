"""The archiver closes the steps after tasks that did not succeed."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from archiving import archive
from celery import Celery, chain, chord, group, states
from closing import publish, run, shown, statuses, store_state, stored, write
from published_workflows import published, workflow_app
from sqlalchemy import Connection, delete, insert, select

from cadasta.workertoolbox.results import ResultTooLarge, TaskStore
from cadasta.workertoolbox.results._database.tables import history, planned, taskmeta
from cadasta.workertoolbox.results._headers import PUBLISHED_AT
from cadasta.workertoolbox.results._history import unrun_steps
from cadasta.workertoolbox.results._history.ended_tasks import ArchiveOptions
from cadasta.workertoolbox.results._history.tidying import PERIODS_S
from cadasta.workertoolbox.results._history.unrun_steps import (
    close_recent_steps,
    close_steps,
)
from cadasta.workertoolbox.results._monitor.records import TaskRecord
from cadasta.workertoolbox.results.backend import Backend


@pytest.fixture
def publisher() -> Iterator[Celery]:
    app = workflow_app()
    yield app
    app.close()


def announced(records: list[TaskRecord]) -> Mapping[str, str]:
    """Return the ids of tasks and announced steps by name."""
    steps = {step.name: step.id for record in records for step in record.planned}
    return steps | {record.name: record.id for record in records}


@pytest.mark.parametrize(
    ("state", "event", "status"),
    [
        (states.FAILURE, "failed", "FAILURE"),
        (states.REVOKED, "was revoked", "REVOKED"),
        (states.REJECTED, "was rejected", "REVOKED"),
    ],
)
def test_the_steps_after_a_task_are_not_run_if_it_did_not_succeed(
    publisher: Celery, backend: Backend, state: str, event: str, status: str
) -> None:
    a, b, c = (publisher.signature(name) for name in "abc")
    records = published(publisher, chain(a, b, c))
    write(backend, records)
    ids = announced(records)
    error = ValueError("no") if state == states.FAILURE else "no"
    store_state(backend, ids["a"], state, error, task="a")
    archive(backend)
    rows = shown(backend)

    assert [rows[ids[name]]["status"] for name in "bc"] == [status] * 2
    assert {rows[ids[name]]["result"] for name in "bc"} == {
        json.dumps(f"not run: a[{ids['a']}] {event}")
    }
    assert rows[ids["b"]]["parent_id"] == ids["a"]
    assert rows[ids["c"]]["parent_id"] == ids["b"]
    assert rows[ids["c"]]["root_id"] == ids["a"]
    assert rows[ids["c"]]["finished_at"] is not None
    archive(backend)
    assert [row["status"] for row in shown(backend).values()].count(status) >= 2


def test_waiting_for_a_step_that_is_not_run_raises_the_error_of_the_task(
    publisher: Celery, app: Celery, backend: Backend
) -> None:
    a, b = (publisher.signature(name) for name in "ab")
    records = published(publisher, chain(a, b))
    write(backend, records)
    ids = announced(records)
    store_state(backend, ids["a"], states.FAILURE, ValueError("no map"))
    archive(backend)

    with pytest.raises(ValueError, match="no map"):
        app.AsyncResult(ids["b"]).get(timeout=1)


@pytest.mark.parametrize(
    "state", [states.SUCCESS, states.RETRY, states.STARTED, states.IGNORED, None]
)
def test_steps_stay_planned_if_the_task_before_them_can_still_succeed(
    publisher: Celery, backend: Backend, state: str | None
) -> None:
    a, b = (publisher.signature(name) for name in "ab")
    records = published(publisher, chain(a, b))
    write(backend, records)
    ids = announced(records)
    if state is not None:
        error = ValueError("again") if state == states.RETRY else None
        store_state(backend, ids["a"], state, error)
    archive(backend)

    assert statuses(backend, [ids["b"]]) == ["PLANNED"]


def test_the_error_of_steps_after_a_restored_failure_may_be_too_large(
    publisher: Celery, app: Celery, backend: Backend
) -> None:
    records = published(publisher, chain(*(publisher.signature(name) for name in "ab")))
    ids = announced(records)
    store_state(backend, ids["a"], states.FAILURE, ValueError("x" * 5000), task="a")
    archive(backend, max_result_bytes=5000)
    backend.expires = timedelta(seconds=-1)
    backend.cleanup()
    write(backend, records)
    archive(backend, max_result_bytes=5000)
    with TaskStore(f"workertoolbox+{backend.database.engine.url}") as store:
        step = store.get(ids["b"])

    assert (step.result, step.result_bytes) == (f"not run: a[{ids['a']}] failed", None)
    with pytest.raises(ResultTooLarge):
        app.AsyncResult(ids["b"]).get(timeout=5)


def test_a_step_whose_message_or_state_was_seen_is_left_alone(
    publisher: Celery, backend: Backend
) -> None:
    a, b, c, d = (publisher.signature(name) for name in "abcd")
    records = published(publisher, chain(a, group(b, c), d))
    write(backend, records)
    ids = announced(records)
    publish(backend, id=ids["b"], task="b")
    store_state(backend, ids["c"], states.STARTED)
    store_state(backend, ids["a"], states.FAILURE, ValueError("no"))
    archive(backend)

    assert statuses(backend, [ids["b"], ids["c"]]) == ["QUEUED", "STARTED"]
    assert statuses(backend, [ids["d"]]) == ["PLANNED"]


def test_error_callbacks_and_other_workflows_are_left_alone(
    publisher: Celery, backend: Backend
) -> None:
    a, b, c, d = (publisher.signature(name) for name in "abcd")
    failing = published(publisher, chain(a.on_error(c), b))
    other = published(publisher, chain(a, d))
    write(backend, [*failing, *other])
    ids = announced(failing)
    store_state(backend, ids["a"], states.FAILURE, ValueError("no"))
    archive(backend)

    assert set(shown(backend)) == {
        *(ids[name] for name in "ab"),
        *announced(other).values(),
    }
    assert statuses(backend, [announced(other)["d"]]) == ["PLANNED"]


def test_the_body_of_a_chord_is_not_run_if_a_task_of_its_header_failed(
    publisher: Celery, app: Celery, backend: Backend
) -> None:
    a, b, c, d = (publisher.signature(name) for name in "abcd")
    records = published(publisher, chord([a, b], chain(c, d)))
    write(backend, records)
    ids = announced(records)
    group_id = records[0].group_id
    store_state(backend, ids["b"], states.REVOKED, "no", task="b", group=group_id)
    archive(backend)
    rows = shown(backend)

    assert [rows[ids[name]]["status"] for name in "acd"] == [
        *("QUEUED", "FAILURE", "FAILURE")
    ]
    assert {rows[ids[name]]["result"] for name in "cd"} == {
        json.dumps(f"not run: b[{ids['b']}] was revoked")
    }
    assert rows[ids["c"]]["parent_id"] == ids["b"]
    with pytest.raises(Exception, match=f"Dependency {ids['b']} raised") as raised:
        app.AsyncResult(ids["c"]).get(timeout=1)
    assert type(raised.value).__name__ == "ChordError"


def test_a_chord_that_was_never_published_is_not_run(
    publisher: Celery, backend: Backend
) -> None:
    a, b, c, d, e = (publisher.signature(name) for name in "abcde")
    records = published(publisher, chain(a, group(b, chain(c, d)), e))
    write(backend, records)
    ids = announced(records)
    store_state(backend, ids["a"], states.FAILURE, ValueError("no"), task="a")
    archive(backend)

    assert statuses(backend, [ids[name] for name in "bcde"]) == ["FAILURE"] * 4


def test_the_body_of_a_nested_chord_is_not_run_either(
    publisher: Celery, backend: Backend
) -> None:
    a, b, c, d, e, f = (publisher.signature(name) for name in "abcdef")
    inner = chord([b, c], d)
    records = published(publisher, chord([a, inner], chain(e, f)))
    write(backend, records)
    ids = announced(records)
    group_id = next(each.group_id for each in records if each.name == "c")
    store_state(backend, ids["c"], states.FAILURE, ValueError("no"), group=group_id)
    archive(backend)

    assert statuses(backend, [ids[name] for name in "def"]) == ["FAILURE"] * 3
    assert statuses(backend, [ids["a"]]) == ["QUEUED"]


def test_a_closed_step_that_runs_later_is_shown_as_running(
    publisher: Celery, backend: Backend
) -> None:
    a, b = (publisher.signature(name) for name in "ab")
    records = published(publisher, chain(a, b))
    write(backend, records)
    ids = announced(records)
    store_state(backend, ids["a"], states.FAILURE, ValueError("no"), task="a")
    archive(backend)
    archive(backend)
    store_state(backend, ids["a"], states.SUCCESS, 1)
    store_state(backend, ids["b"], states.STARTED)

    assert statuses(backend, [ids["a"], ids["b"]]) == ["SUCCESS", "STARTED"]
    assert stored(backend, ids["b"])["not_run"] is None
    store_state(backend, ids["b"], states.SUCCESS, 2)
    archive(backend)
    assert statuses(backend, [ids["a"], ids["b"]]) == ["SUCCESS", "SUCCESS"]


@pytest.mark.parametrize("kept", ["live", "archived", "expired"])
def test_a_closed_step_is_queued_as_soon_as_its_message_arrives(
    publisher: Celery, backend: Backend, kept: str
) -> None:
    a, b = (publisher.signature(name) for name in "ab")
    records = published(publisher, chain(a, b))
    write(backend, records)
    ids = announced(records)
    store_state(backend, ids["a"], states.FAILURE, ValueError("no"), task="a")
    archive(backend)
    if kept != "live":
        archive(backend)
    if kept == "expired":
        with backend.database.engine.begin() as connection:
            connection.execute(delete(taskmeta))
    long_ago = (datetime.now(UTC) - timedelta(minutes=10)).isoformat()
    publish(backend, id=ids["b"], task="b", **{PUBLISHED_AT: long_ago})
    queued = statuses(backend, [ids["b"]])
    store_state(backend, ids["b"], states.SUCCESS, 2, **{PUBLISHED_AT: long_ago})
    archive(backend)

    assert queued == ["QUEUED"]
    assert statuses(backend, [ids["b"]]) == ["SUCCESS"]


def test_steps_are_closed_within_a_minute(publisher: Celery, backend: Backend) -> None:
    a, b = (publisher.signature(name) for name in "ab")
    records = published(publisher, chain(a, b))
    write(backend, records)
    ids = announced(records)
    store_state(backend, ids["a"], states.FAILURE, ValueError("no"), task="a")
    found = []
    now = datetime.now(UTC)
    for seconds in range(10, 60, 10):
        run(backend, close_recent_steps, now + timedelta(seconds=seconds))
        found += statuses(backend, [ids["b"]])

    assert PERIODS_S[close_recent_steps] <= 10
    assert found == ["PLANNED", *["FAILURE"] * 4]


def test_a_step_that_workers_closed_closes_the_steps_after_it(
    publisher: Celery, backend: Backend
) -> None:
    a, b, c = (publisher.signature(name) for name in "abc")
    records = published(publisher, chain(a, b, c))
    write(backend, records)
    ids = announced(records)
    row: dict[str, Any] = {"not_run": "not run: a[1] failed"}
    store_state(backend, ids["b"], states.FAILURE, ValueError("no"))
    with backend.database.engine.begin() as connection:
        connection.exec_driver_sql(
            "UPDATE celery_taskmeta SET not_run = ?", (row["not_run"],)
        )
    archive(backend)

    assert shown(backend)[ids["c"]]["result"] == json.dumps(row["not_run"])


# Rows that are stored as they are


NOW = datetime(2026, 11, 28, 12, tzinfo=UTC)

ERROR = b'{"exc_type": "ValueError", "exc_message": ["no map"]}'


def revocation(reason: str) -> dict[str, Any]:
    return {
        "exc_type": "TaskRevokedError",
        "exc_message": [reason],
        "exc_module": "celery.exceptions",
    }


def end(backend: Backend, id: str, ago_s: float = 30, **values: Any) -> None:
    """Store the end of a task, by default a failure, some seconds before `NOW`."""
    done = (NOW - timedelta(seconds=ago_s)).replace(tzinfo=None)
    row = {"task_id": id, "status": "FAILURE", "result": ERROR, "date_done": done}
    with backend.database.engine.begin() as connection:
        connection.execute(insert(taskmeta).values({**row, **values}))


def plan(backend: Backend, id: str, **values: Any) -> None:
    """Store a step that a message has announced."""
    row = {"id": id, "name": f"export.{id}", "root_id": "r", "seen_at": NOW}
    with backend.database.engine.begin() as connection:
        connection.execute(insert(planned).values({**row, **values}))


def close(backend: Backend, *ids: str) -> int:
    """Close the steps after tasks, and return their number."""
    counts = []

    def step(connection: Connection, now: datetime, options: ArchiveOptions) -> None:
        counts.append(close_steps(connection, ids, now, options.faulty))

    run(backend, step, NOW)
    return counts[0]


def closed(backend: Backend) -> dict[str, dict[str, Any]]:
    """Return what is stored of the closed steps, without what is empty."""
    query = select(taskmeta).where(taskmeta.c.not_run.is_not(None))
    with backend.database.engine.connect() as connection:
        rows = connection.execute(query).mappings().all()
    return {
        row["task_id"]: {
            name: value
            for name, value in row.items()
            if value is not None and name not in ("id", "task_id")
        }
        for row in rows
    }


def test_a_step_has_the_error_of_the_task_that_failed(backend: Backend) -> None:
    end(backend, "1", name="a", traceback="Traceback", result_bytes=7)
    plan(backend, "b", parent_id="1", group_id="g")
    plan(backend, "c", parent_id="b")
    plan(backend, "other", parent_id="2")

    assert close(backend, "1") == 2
    same = {
        **{"status": "FAILURE", "result": ERROR, "result_bytes": 7},
        **{"traceback": "Traceback", "date_done": NOW.replace(tzinfo=None)},
        **{"root_id": "r", "not_run": "not run: a[1] failed"},
    }
    assert closed(backend) == {
        "b": {**same, "name": "export.b", "parent_id": "1", "group_id": "g"},
        "c": {**same, "name": "export.c", "parent_id": "b"},
    }
    assert close(backend, "1") == 0


@pytest.mark.parametrize(
    ("status", "reason", "event"),
    [
        ("REVOKED", "terminated", "was revoked"),
        ("REVOKED", "expired at noon", "expired"),
        ("REVOKED", "refused by the broker: no", "was refused by the broker"),
        ("REJECTED", "no", "was rejected"),
        ("LOST", "no", "was lost"),
    ],
)
def test_a_step_is_revoked_if_the_task_before_it_has_no_error(
    backend: Backend, status: str, reason: str, event: str
) -> None:
    given = json.dumps(revocation(reason) if status == "REVOKED" else reason).encode()
    end(backend, "1", status=status, result=given, traceback="Traceback", group_id="g")
    plan(backend, "b", parent_id="1")
    plan(backend, "body", header_id="g")
    close(backend, "1")
    rows = closed(backend)
    why = f"not run: task[1] {event}"
    error = revocation(reason if status == "REVOKED" else why)
    raised = reason if status == "REVOKED" else event

    assert json.loads(rows["b"].pop("result")) == error
    assert rows["b"] == {
        **{"status": "REVOKED", "name": "export.b", "root_id": "r", "parent_id": "1"},
        **{"date_done": NOW.replace(tzinfo=None), "not_run": why},
        **({"traceback": "Traceback"} if status == "REVOKED" else {}),
    }
    assert json.loads(rows["body"].pop("result")) == {
        "exc_type": "ChordError",
        "exc_message": [f"Dependency 1 raised TaskRevokedError: {raised}"],
        "exc_module": "celery.exceptions",
    }
    assert rows["body"] == {
        **{"status": "FAILURE", "name": "export.body", "root_id": "r"},
        **{"parent_id": "1", "not_run": why, "date_done": NOW.replace(tzinfo=None)},
    }


def test_a_task_whose_error_was_not_stored_keeps_its_steps_from_running(
    backend: Backend,
) -> None:
    end(backend, "1", name="a", result=None)
    plan(backend, "b", parent_id="1")
    close(backend, "1")

    assert closed(backend)["b"]["result"] == b"null"


def test_the_body_of_a_header_that_was_never_published_is_not_run(
    backend: Backend,
) -> None:
    end(backend, "1", name="a", traceback="Traceback", result_bytes=7)
    plan(backend, "b", parent_id="1", group_id="g")
    plan(backend, "c", parent_id="1", group_id="g")
    plan(backend, "d", header_id="g", group_id="h")
    plan(backend, "e", header_id="h")
    assert close(backend, "1") == 4
    rows = closed(backend)

    assert {row["not_run"] for row in rows.values()} == {"not run: a[1] failed"}
    assert {id: row["parent_id"] for id, row in rows.items()} == dict.fromkeys(
        "bcde", "1"
    )
    assert {row["result"] for row in rows.values()} == {ERROR}


def test_steps_after_several_tasks_have_their_own_causes(
    backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unrun_steps, "_MAX_IDS", 2)
    for id in "1234":
        end(backend, id, name="a")
        plan(backend, f"{id}b", parent_id=id)
        plan(backend, f"{id}c", parent_id=f"{id}b")

    assert close(backend, *"1234") == 8
    assert {id: row["not_run"] for id, row in closed(backend).items()} == {
        f"{id}{step}": f"not run: a[{id}] failed" for id in "1234" for step in "bc"
    }


@pytest.mark.parametrize("after", [{"parent_id": "1"}, {"header_id": "g"}])
def test_a_step_with_a_message_a_state_or_an_end_is_left_alone(
    backend: Backend, after: dict[str, str]
) -> None:
    end(backend, "1", name="a", group_id="g")
    publish(backend, id="message")
    end(backend, "state", status="STARTED")
    row: dict[str, Any] = {"id": "end", "keep": "default", "day": NOW.date()}
    row |= {"status": "SUCCESS", "finished_at": NOW, "listed_at": NOW}
    row |= {"tracked": True, "forgotten": False}
    with backend.database.engine.begin() as connection:
        connection.execute(insert(history).values(row))
    for id in ("message", "state", "end", "free"):
        plan(backend, id, **after)
        plan(backend, f"after-{id}", parent_id=id)
    close(backend, "1")

    assert closed(backend).keys() == {"free", "after-free"}


@pytest.mark.parametrize(
    ("ago_s", "values", "is_closed"),
    [
        (19, {}, False),
        (20, {}, True),
        (50, {}, True),
        (51, {}, False),
        (30, {"status": "REVOKED"}, True),
        (30, {"status": "LOST"}, True),
        (30, {"status": "SUCCESS"}, False),
        (30, {"status": "IGNORED"}, False),
        (30, {"status": "RETRY"}, False),
        (30, {"archived_at": NOW}, False),
    ],
)
def test_the_steps_after_a_recent_end_are_closed(
    backend: Backend, ago_s: float, values: dict[str, Any], is_closed: bool
) -> None:
    end(backend, "1", ago_s, **values)
    plan(backend, "b", parent_id="1")
    run(backend, close_recent_steps, NOW)

    assert (closed(backend).keys() == {"b"}) == is_closed


@pytest.mark.parametrize(
    ("status", "count"), [("FAILURE", 3), ("STARTED", 0), ("SUCCESS", 0)]
)
def test_steps_stay_planned_if_the_task_runs_again_while_they_are_closed(
    backend: Backend, status: str, count: int
) -> None:
    end(backend, "1", status=status, group_id="g")
    plan(backend, "b", parent_id="1")
    # Forged messages may announce steps that follow each other in a circle.
    plan(backend, "c", header_id="g", parent_id="d")
    plan(backend, "d", parent_id="c")
    end(backend, "2")
    plan(backend, "e", parent_id="2")

    assert close(backend, "1", "2") == count + 1
    assert closed(backend).keys() == {*"bcd"[:count], "e"}


def test_the_body_of_a_chord_has_the_whole_of_its_own_error(backend: Backend) -> None:
    end(backend, "1", name="a", result_bytes=7, group_id="g")
    plan(backend, "body", header_id="g")
    close(backend, "1")
    row = closed(backend)["body"]

    assert "result_bytes" not in row
    assert json.loads(row["result"])["exc_message"] == [
        "Dependency 1 raised ValueError: no map"
    ]


def test_a_task_with_a_faulty_error_does_not_stop_the_steps_of_others(
    backend: Backend, caplog: pytest.LogCaptureFixture
) -> None:
    for id in "123":
        end(backend, id, name="a")
        plan(backend, f"{id}b", parent_id=id)
    with backend.database.engine.begin() as connection:
        connection.exec_driver_sql(
            "UPDATE celery_taskmeta SET result = 'a text' WHERE task_id = '2'"
        )
    run(backend, close_recent_steps, NOW)

    assert closed(backend).keys() == {"1b", "3b"}
    assert "task before steps 2 is left out" in caplog.text

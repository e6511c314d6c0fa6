"""The archiver marks running tasks as lost if their worker has died."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from archiving import archive
from celery import Celery, states
from celery.exceptions import TimeoutError
from closing import make_older, publish, run, shown, statuses, store_state, stored
from sqlalchemy import create_engine, event, insert

from cadasta.workertoolbox.results._database.tables import taskmeta
from cadasta.workertoolbox.results._errors import InvalidDuration
from cadasta.workertoolbox.results._history.ended_tasks import (
    LOST_AFTER_S,
    SILENT_S,
    ArchiveOptions,
    archive_options,
)
from cadasta.workertoolbox.results._history.lost_tasks import ACTIVE_FACTOR, mark_lost
from cadasta.workertoolbox.results.backend import Backend

PUBLISHED = "2026-01-02T03:04:05.000006+00:00"


def start(backend: Backend, id: str = "1", **headers: Any) -> None:
    """Store the message and the start of a task."""
    publish(backend, id=id, **headers)
    store_state(backend, id, states.STARTED, workertoolbox_published_at=PUBLISHED)


def look(backend: Backend, after_s: float) -> None:
    """Let the archiver look for lost tasks, seconds after now."""
    run(backend, mark_lost, datetime.now(UTC) + timedelta(seconds=after_s))


def test_a_task_is_lost_if_its_worker_is_silent_and_it_is_overdue(
    app: Celery, backend: Backend
) -> None:
    start(backend)
    look(backend, LOST_AFTER_S - 60)
    assert statuses(backend, ["1"]) == ["STARTED"]
    look(backend, LOST_AFTER_S + 60)
    row = shown(backend)["1"]

    assert (row["status"], row["worker"]) == ("LOST", "a@host")
    assert row["result"].startswith('"lost: started at 20')
    assert row["result"].endswith('Z, and a@host stores nothing any more"')
    assert row["finished_at"] is not None
    with pytest.raises(TimeoutError):
        app.AsyncResult("1").get(timeout=0.01)
    archive(backend)
    assert statuses(backend, ["1"]) == ["LOST"]


def test_a_task_with_a_time_limit_is_lost_soon_after_it(backend: Backend) -> None:
    start(backend, timelimit=[60, None])
    look(backend, SILENT_S + 30)
    assert statuses(backend, ["1"]) == ["STARTED"]
    look(backend, SILENT_S + 90)

    assert statuses(backend, ["1"]) == ["LOST"]


def test_a_task_with_a_long_time_limit_is_not_lost_before_it(backend: Backend) -> None:
    start(backend, timelimit=[LOST_AFTER_S * 2, None])
    look(backend, LOST_AFTER_S + 60)

    assert statuses(backend, ["1"]) == ["STARTED"]


def test_a_task_of_a_worker_that_still_stores_states_is_lost_much_later(
    backend: Backend,
) -> None:
    start(backend)
    make_older(backend, "1", date_done=timedelta(seconds=2 * LOST_AFTER_S))
    store_state(backend, "2", states.SUCCESS, 1)
    look(backend, 0)
    assert statuses(backend, ["1"]) == ["STARTED"]
    longer = timedelta(seconds=ACTIVE_FACTOR * LOST_AFTER_S)
    make_older(backend, "1", date_done=longer)
    look(backend, 0)

    assert statuses(backend, ["1", "2"]) == ["LOST", "SUCCESS"]
    assert "a@host stores only other tasks" in shown(backend)["1"]["result"]


def test_a_task_that_is_published_again_is_not_lost(backend: Backend) -> None:
    start(backend)
    publish(
        backend,
        replaced_task_nesting=1,
        workertoolbox_published_at="2026-01-02T03:30:00+00:00",
    )
    look(backend, LOST_AFTER_S + 60)

    assert statuses(backend, ["1"]) != ["LOST"]
    assert stored(backend, "1")["status"] == "STARTED"


@pytest.mark.parametrize("state", [states.RETRY, states.SUCCESS, "OWN", None])
def test_only_running_tasks_are_lost(backend: Backend, state: str | None) -> None:
    publish(backend)
    if state is not None:
        result = ValueError("again") if state == states.RETRY else 1
        store_state(backend, "1", state, result)
    look(backend, 10 * LOST_AFTER_S)

    assert statuses(backend, ["1"]) == [state or "QUEUED"]


@pytest.mark.parametrize("is_archived", [False, True])
@pytest.mark.parametrize(
    ("state", "result"),
    [
        (states.SUCCESS, 42),
        (states.FAILURE, ValueError("no")),
        (states.REJECTED, "no"),
        (states.RETRY, ValueError("again")),
    ],
)
def test_a_state_that_a_lost_task_stores_later_replaces_the_status(
    backend: Backend, state: str, result: Any, is_archived: bool
) -> None:
    start(backend)
    look(backend, LOST_AFTER_S + 60)
    if is_archived:
        archive(backend)
    store_state(backend, "1", state, result, workertoolbox_published_at=PUBLISHED)
    archive(backend)

    assert statuses(backend, ["1"]) == [state]
    assert not stored(backend, "1")["attempts"]


def test_a_task_that_is_delivered_again_runs_and_keeps_its_lost_attempt(
    backend: Backend,
) -> None:
    start(backend)
    look(backend, LOST_AFTER_S + 60)
    archive(backend)
    make_older(backend, "1", started_at=timedelta(minutes=1))
    store_state(
        backend,
        *("1", states.STARTED),
        hostname="b@host",
        workertoolbox_published_at=PUBLISHED,
    )
    [attempt] = stored(backend, "1")["attempts"]

    assert statuses(backend, ["1"]) == ["STARTED"]
    assert (attempt["outcome"], attempt["worker"]) == ("LOST", "a@host")


def test_many_lost_tasks_of_many_workers_take_few_statements(backend: Backend) -> None:
    rows: list[dict[str, Any]] = [
        {
            "task_id": f"{worker}-{number}",
            "status": states.STARTED,
            "worker": f"{worker}@host",
            "date_done": datetime.now(UTC).replace(tzinfo=None),
        }
        for worker in range(30)
        for number in range(10)
    ]
    statements: list[str] = []
    engine = create_engine(backend.database.engine.url)
    event.listen(
        *(engine, "before_cursor_execute"),
        lambda connection, cursor, statement, values, context, many: statements.extend(
            [statement] * (len(values) if many else 1)
        ),
    )
    with engine.begin() as connection:
        connection.execute(insert(taskmeta), rows)
        statements.clear()
        later = datetime.now(UTC) + timedelta(seconds=LOST_AFTER_S + 60)
        mark_lost(connection, later, ArchiveOptions())
    engine.dispose()

    assert len(statements) < 10
    assert statuses(backend, [row["task_id"] for row in rows]) == ["LOST"] * 300


def test_the_mark_of_a_lost_task_is_not_a_state_of_its_worker(backend: Backend) -> None:
    start(backend, "1", timelimit=[60, None])
    start(backend, "2", timelimit=[120, None])
    for after_s in (SILENT_S + 90, SILENT_S + 150):
        look(backend, after_s)

    assert statuses(backend, ["1", "2"]) == ["LOST", "LOST"]


def test_lost_after_is_a_setting(app: Celery) -> None:
    app.conf.LOST_AFTER = "2h"
    assert archive_options(app).lost_after_s == 7200

    app.conf.LOST_AFTER = "soon"
    with pytest.raises(InvalidDuration, match="LOST_AFTER"):
        archive_options(app)

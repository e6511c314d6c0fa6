"""The archiver marks running tasks as lost if their worker has died."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from archiving import archive
from celery import Celery, states
from celery.exceptions import TimeoutError
from closing import make_older, publish, run, shown, statuses, store_state, stored
from sqlalchemy import create_engine, event, insert, select

from cadasta.workertoolbox.results._database.tables import taskmeta
from cadasta.workertoolbox.results._errors import InvalidDuration
from cadasta.workertoolbox.results._history.ended_tasks import (
    LOST_AFTER_S,
    SILENT_S,
    ArchiveOptions,
    archive_options,
)
from cadasta.workertoolbox.results._history.lost_tasks import (
    ACTIVE_FACTOR,
    _store_marks,
    mark_lost,
)
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


def test_a_task_is_lost_although_the_clock_of_its_publisher_is_ahead(
    backend: Backend,
) -> None:
    ahead = (datetime.now(UTC) + timedelta(minutes=10)).isoformat()
    headers = {"workertoolbox_published_at": ahead}
    publish(backend, **headers, timelimit=[60, None])
    store_state(backend, "1", states.STARTED, **headers)
    look(backend, SILENT_S + 90)

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


#: When the message says that it was published.
SAME = datetime.fromisoformat(PUBLISHED)

#: When the archiver looks, in tests that store rows.
NOW = datetime(2026, 11, 28, 12, tzinfo=UTC)

#: A task without a time limit is overdue after an hour, and a worker is silent after
#: five minutes.
OPTIONS: dict[str, Any] = {"lost_after_s": 3600.0, "silent_s": 300.0}


def store(backend: Backend, id: str, ago_s: float, **values: Any) -> None:
    """Store a state of a task, by default a start, some seconds before `NOW`."""
    at = (NOW - timedelta(seconds=ago_s)).replace(tzinfo=None)
    row = {"task_id": id, "status": states.STARTED, "worker": id, "date_done": at}
    with backend.database.engine.begin() as connection:
        connection.execute(insert(taskmeta).values({**row, **values}))


def lost(backend: Backend) -> dict[str, str]:
    """Look for lost tasks, and return the reasons by id."""
    run(backend, mark_lost, NOW, **OPTIONS)
    is_new = taskmeta.c.date_done == NOW.replace(tzinfo=None)
    query = select(taskmeta).where(taskmeta.c.status == "LOST", is_new)
    with backend.database.engine.connect() as connection:
        rows = connection.execute(query).mappings().all()
    return {row["task_id"]: json.loads(row["result"]) for row in rows}


def test_a_task_is_lost_when_it_is_overdue(backend: Backend) -> None:
    store(backend, "at", 3600)
    store(backend, "after", 3601)
    store(backend, "nameless", 3602, worker=None)
    begin = "lost: started at 2026-11-28T"

    assert lost(backend) == {
        "after": f"{begin}10:59:59Z, and after stores nothing any more",
        "nameless": f"{begin}10:59:58Z, and its worker stores nothing any more",
    }


@pytest.mark.parametrize(
    ("ago_s", "values", "is_active"),
    [
        (299, {}, True),
        (300, {}, True),
        (301, {}, False),
        (60, {"status": states.SUCCESS}, True),
        (60, {"status": "LOST"}, False),
        (60, {"worker": "b"}, False),
        (60, {"worker": None}, False),
        (-86400, {}, True),
        (-86401, {}, False),
    ],
)
def test_a_worker_is_active_if_it_has_stored_a_state(
    backend: Backend, ago_s: float, values: dict[str, Any], is_active: bool
) -> None:
    for id, started_s in (("long", 14_401), ("short", 14_400)):
        store(backend, id, started_s, worker="a")
    store(backend, "other", ago_s, **{"worker": "a", **values})
    found = lost(backend)

    if is_active:
        assert found == {
            "long": "lost: started at 2026-11-28T07:59:59Z, and a stores only other "
            "tasks"
        }
    else:
        assert sorted(found) == ["long", "short"]
        assert found["long"].endswith(", and a stores nothing any more")


@pytest.mark.parametrize(
    ("message", "result", "ago_s", "is_lost"),
    [
        ({"timelimit": [60, None]}, {}, 360, False),
        ({"timelimit": [60, None]}, {}, 361, True),
        ({"timelimit": [3600, None]}, {}, 3700, False),
        ({}, {}, 3601, True),
        ({}, {"retries": 0, "published_at": SAME}, 3601, True),
        ({"retries": 1}, {"retries": 0}, 3601, False),
        ({}, {"published_at": NOW}, 3601, False),
    ],
)
def test_a_task_is_lost_by_what_its_message_says(
    backend: Backend,
    message: dict[str, Any],
    result: dict[str, Any],
    ago_s: float,
    is_lost: bool,
) -> None:
    publish(backend, **message)
    store(backend, "1", ago_s, **result)

    assert (lost(backend) != {}) == is_lost


def test_a_task_is_not_lost_before_its_worker_is_silent(backend: Backend) -> None:
    store(backend, "1", 299)
    run(backend, mark_lost, NOW, lost_after_s=60.0, silent_s=300.0)

    assert statuses(backend, ["1"]) == ["STARTED"]


def test_a_task_with_a_new_state_is_not_marked(backend: Backend) -> None:
    for id, status in (("1", states.STARTED), ("2", states.SUCCESS)):
        store(backend, id, 3601, status=status)
    started_at = (NOW - timedelta(seconds=3601)).replace(tzinfo=None)
    marks = [
        ("1", started_at - timedelta(seconds=1), '"lost"'),
        ("2", started_at, '"lost"'),
    ]
    with backend.database.engine.begin() as connection:
        _store_marks(connection, marks, NOW)
        _store_marks(connection, [], NOW)

    assert statuses(backend, ["1", "2"]) == ["STARTED", "SUCCESS"]


def test_lost_after_is_a_setting(app: Celery) -> None:
    app.conf.LOST_AFTER = "2h"
    assert archive_options(app).lost_after_s == 7200

    app.conf.LOST_AFTER = "soon"
    with pytest.raises(InvalidDuration, match="LOST_AFTER"):
        archive_options(app)

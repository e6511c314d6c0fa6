"""Workflows in a database, as the page of a workflow finds them."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

from celery import chain, chord
from published_workflows import published, workflow_app
from sqlalchemy import insert
from stored_tasks import publish, store_state

from cadasta.workertoolbox.results import TaskStore
from cadasta.workertoolbox.results._database.tables import history
from cadasta.workertoolbox.results._monitor.upserts import write_batch

#: When the workflows were published.
BEGIN = datetime.now(UTC).replace(microsecond=0) - timedelta(minutes=10)

#: The ids of the roots of workflows, and of a group that began outside of a task.
OPEN, FAILED, GROUP, LARGE, SINGLE = "a", "chain", "group", "large", "single"

#: Number of tasks in the large workflow, and how many of them are beneath each part.
SIZE, PART = 5000, 49

#: A name that a page must show as text.
HOSTILE = "<b>\x1b[31m\u202eexe</b>\"'"


def at(seconds: float) -> datetime:
    """Return an instant in seconds after `BEGIN`."""
    return BEGIN + timedelta(seconds=seconds)


def fill_with_flows(store: TaskStore) -> None:
    """Store all of these workflows."""
    store_open(store)
    store_failed(store)
    for id in ("one", "two"):
        publish(store, "export", id, at=at(0), root_id=id, group=GROUP)
        run(store, id, 0, 1, 2, root_id=id, group_id=GROUP)
    publish(store, "export", SINGLE, at=at(0), root_id=SINGLE, task=HOSTILE)
    store_large(store)


def store_open(store: TaskStore) -> None:
    """Store the first message of `a | (b, c | d) | e | f`, whose task is running."""
    app = workflow_app()
    a, b, c, d, e, f = (app.signature(name, task_id=name) for name in "abcdef")
    records = published(app, chain(a, chord([b, chain(c, d)], e), f))
    app.close()
    with store.engine.begin() as connection:
        write_batch(connection, records)
    values: dict[str, Any] = {"worker": "w@host", "name": "a", "root_id": "a"}
    store_state(store, OPEN, "STARTED", started_at=datetime.now(UTC), **values)


def store_failed(store: TaskStore) -> None:
    """Store a chain: a task, one that was retried twice, one that failed, one not run.

    A task beside the chain succeeds after it has failed.
    """
    steps = {FAILED: None, "retried": FAILED, "failed": "retried", "beside": FAILED}
    for number, (id, parent_id) in enumerate(steps.items()):
        begin = at(10 * number)
        lineage: dict[str, Any] = {"root_id": FAILED, "parent_id": parent_id}
        publish(store, "export", id, at=begin, task=f"maps.{id}", **lineage)
    lineage = {"root_id": FAILED, "name": None}
    run(store, FAILED, 0, 2, 8, **lineage)
    attempts = [
        attempt(0, 10, 11, 12, "RETRY"),
        attempt(1, 12, 13, 14, "RETRY"),
    ]
    for retries, seconds in ((1, 12), (2, 14)):
        values: dict[str, Any] = {"task": "maps.retried", "parent_id": FAILED}
        values |= {"root_id": FAILED, "retries": retries}
        publish(store, "export", "retried", at=at(seconds), **values)
    run(store, "retried", 14, 16, 19, retries=2, attempts=attempts, **lineage)
    error = {"exc_type": "KeyError", "exc_message": ["<zoom>"], "exc_module": "x"}
    ended: dict[str, Any] = {"status": "FAILURE", "result": json.dumps(error).encode()}
    run(store, "failed", 20, 21, 25, traceback="KeyError", **ended, **lineage)
    run(store, "beside", 30, 31, 40, **lineage)
    reason = "not run: maps.failed[failed] failed"
    skipped: dict[str, Any] = {"not_run": reason, "parent_id": "failed"}
    skipped |= {"root_id": FAILED, "name": "maps.skipped"}
    store_state(store, "skipped", "FAILURE", at=at(25), **skipped)


def attempt(
    retries: int, published: float, started: float, ended: float, outcome: str
) -> dict[str, Any]:
    """Return the record of an attempt, with its times in seconds."""
    return {
        **{"retries": retries, "queue": "export", "worker": "w@host"},
        **{"error_group": None, "error": None, "traceback": None, "outcome": outcome},
        "published_at": at(published).isoformat(),
        "started_at": at(started).isoformat(),
        "finished_at": at(ended).isoformat(),
    }


def run(
    store: TaskStore,
    id: str,
    published: float,
    started: float,
    ended: float,
    *,
    status: str = "SUCCESS",
    **values: Any,
) -> None:
    """Store the last run of a task, with its times in seconds."""
    times = {"started_at": at(started), "published_at": at(published)}
    known = {"worker": "w@host", "queue": "export", "retries": 0, "result": b"1"}
    store_state(store, id, status, at=at(ended), **{**times, **known, **values})


def store_large(store: TaskStore) -> None:
    """Store a workflow of `SIZE` ended tasks, in the history; some have failed."""
    rows = [_ended(LARGE, None, 0)]
    while len(rows) < SIZE:
        part = f"part {len(rows)}"
        rows.append(_ended(part, LARGE, 1))
        number = min(PART, SIZE - len(rows))
        rows += [_ended(f"{part} tile {n}", part, 3 + n) for n in range(number)]
    with store.engine.begin() as connection:
        connection.execute(insert(history), rows)


def _ended(id: str, parent_id: str | None, seconds: float) -> dict[str, Any]:
    failed = id in FAILURES
    ended_at = at(seconds + 2 - FAILURES.get(id, 0))
    return {
        **{"id": id, "keep": "default", "day": ended_at.date(), "name": "maps.tile"},
        **{"status": "FAILURE" if failed else "SUCCESS", "queue": "maps"},
        **{"root_id": LARGE, "parent_id": parent_id, "retries": 0, "replaced": 0},
        **{"scheduled_at": at(seconds), "started_at": at(seconds + 0.5)},
        **{"finished_at": ended_at, "listed_at": at(seconds), "seen_at": at(seconds)},
        **{"tracked": True, "forgotten": False, "result": b'{"rows": 5}'},
    }


#: Failed tasks of the large workflow, with the seconds that they ended earlier.
FAILURES = {"part 51 tile 40": 0.0, "part 4951 tile 25": 1.0, "part 2001 tile 30": 0.5}

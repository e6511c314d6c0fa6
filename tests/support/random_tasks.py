"""Random tasks in every state, in the tables of live tasks."""

from __future__ import annotations

import itertools
import json
import random
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import Engine, delete, insert, select, update

from cadasta.workertoolbox.results import TaskStore
from cadasta.workertoolbox.results._database.statuses import ENDED
from cadasta.workertoolbox.results._database.tables import (
    attempt,
    planned,
    task,
    taskmeta,
)
from cadasta.workertoolbox.results._history.archiver import archive_batch
from cadasta.workertoolbox.results._history.ended_tasks import ArchiveOptions

NOW = datetime.now(UTC)

NAMES = ("export.a", "export.b", "celery.chord_unlock")
QUEUES = ("export", "msg")
WORKERS = ("one@host", "two@host")
STATUSES = ("SUCCESS", "SUCCESS", "FAILURE", "STARTED", "RETRY", "PROGRESS", None)


def random_rows(seed: int, count: int) -> dict[Any, list[dict[str, Any]]]:
    """Return rows of tasks in all states, each of a different age."""
    chance = random.Random(seed)
    ages = (timedelta(seconds=3 * n + chance.random()) for n in itertools.count())
    tables = (task, attempt, taskmeta, planned)
    rows: dict[Any, list[dict[str, Any]]] = {table: [] for table in tables}
    for n in range(count):
        id, root = f"id{n}", f"id{n - n % 4}"
        parent = None if id == root else root
        at = NOW - next(ages)
        common = {"name": chance.choice(NAMES), "root_id": root, "parent_id": parent}
        queue = chance.choice(QUEUES)
        status = "STARTED" if n == UNDATED else chance.choice(STATUSES)
        is_tracked = chance.random() < 0.8
        if is_tracked:
            eta = chance.choice((None, None, NOW + timedelta(hours=1), NOW - MAX_AGE))
            message = {
                "name": common["name"],
                "queue": queue,
                "replaced": 0,
                "retries": 0,
                "scheduled_at": at,
                "eta": eta,
                "seen_at": at + chance.choice((0, 40)) * timedelta(seconds=1),
            }
            rows[attempt].append({"task_id": id, **message})
            others = {"ignore_result": False, "published_at": at}
            rows[task].append({"id": id, **common, **message, **others})
        if status is not None:
            done = NOW - chance.random() * MAX_AGE
            extended = common | {"queue": queue, "worker": chance.choice(WORKERS)}
            is_extended = chance.random() < 0.8 or not is_tracked
            rows[taskmeta].append(
                {
                    "id": n + 1,
                    "task_id": id,
                    "status": status,
                    "result": b"42",
                    "date_done": None if n == UNDATED else done.replace(tzinfo=None),
                    "published_at": at if is_tracked else None,
                    **dict.fromkeys(extended),
                    **(extended if is_extended else {"root_id": root}),
                }
            )
        if not is_tracked and status is None or chance.random() < 0.1:
            rows[planned].append({"id": id, **common, "seen_at": at})
    return rows


#: The number of a task whose result has no time.
UNDATED = 7

MAX_AGE = timedelta(minutes=10)


#: Errors as workers store them.
ERRORS = (
    {"exc_type": "ConnectionError", "exc_message": ["Connection refused", "db"]},
    {"exc_type": "ValueError", "exc_message": ["no such map: 100%_é [x]"]},
    {"exc_type": "KeyError", "exc_message": "order"},
)

#: Keyword arguments, and headers.
KWARGS: tuple[dict[str, Any], ...] = (
    {},
    {"order_id": 4711, "path": "some/folder"},
    {"order_id": "4711", "order": {"id": 12.5, "0": None, "é": "x"}},
    {"order": [{"id": True}, "4711", [7]], "big": 2**62 + 1, 'a."b': "c"},
)
HEADERS: tuple[dict[str, Any] | None, ...] = (
    None,
    {"tenant": ["acme", 4711]},
    {"tenant": "acme", "trace": {"id": 7}},
)


def random_details(
    rows: dict[Any, list[dict[str, Any]]], seed: int
) -> dict[Any, list[dict[str, Any]]]:
    """Return rows with arguments, errors, times, senders and headers."""
    chance = random.Random(seed)
    known: dict[str, dict[str, Any]] = {}
    for row in rows[task]:
        known[row["id"]] = shown = {
            "args": chance.choice(([], [4711, "a"], ["4711", [1.5]])),
            "kwargs": chance.choice(KWARGS),
        }
        row |= shown | {
            "group_id": chance.choice((None, "group1", "group2")),
            "origin": chance.choice(("1@web", "2@beat")),
            "service": chance.choice((None, "web")),
            "schedule": chance.choice((None, "nightly")),
            "headers": chance.choice(HEADERS),
        }
    for row in rows[taskmeta]:
        shown = known.get(row["task_id"], {"args": [1], "kwargs": {"order_id": 4711}})
        done = row["date_done"] or NOW.replace(tzinfo=None)
        run = timedelta(seconds=chance.choice((0, 10, 60)))
        row |= {
            **{name: json.dumps(value).encode() for name, value in shown.items()},
            "retries": 0,
            "started_at": chance.choice((None, done.replace(tzinfo=UTC) - run)),
            "waited_s": chance.choice((None, 0.5, 90.0)),
            "error_group": None,
        }
        if row["status"] in ("FAILURE", "RETRY"):
            row["result"] = json.dumps(chance.choice(ERRORS)).encode()
            row["error_group"] = chance.choice((None, "1-a", "1-b"))
    return rows


def insert_rows(engine: Engine, rows: dict[Any, list[dict[str, Any]]]) -> None:
    """Insert rows into their tables."""
    with engine.begin() as connection:
        for table, some in rows.items():
            connection.execute(insert(table), some)


def change_some(engine: Engine, chance: random.Random) -> None:
    """Delete some results, and let some of these tasks run or be published again."""
    has_ended = taskmeta.c.status.in_(ENDED)
    with engine.begin() as connection:
        known = connection.execute(select(taskmeta).where(has_ended)).mappings().all()
        for row in known:
            if chance.random() < 0.6:
                continue
            id, fate = row["task_id"], chance.random()
            is_same = taskmeta.c.task_id == id
            connection.execute(delete(taskmeta).where(is_same))
            now = datetime.now(UTC)
            if fate < 0.1:
                again = {"status": "STARTED", "date_done": now.replace(tzinfo=None)}
                changed = update(taskmeta).where(is_same).values(again)
                if not connection.execute(changed).rowcount:
                    fresh = {"archived_at": None, "forgotten": None}
                    connection.execute(insert(taskmeta), [{**row, **again, **fresh}])
            elif fate < 0.2:
                later = update(task).where(task.c.id == id).values(published_at=now)
                connection.execute(later)


def archive(store: TaskStore, until: datetime) -> None:
    """Archive the tasks that ended before an instant."""
    options = ArchiveOptions(delay_s=(datetime.now(UTC) - until).total_seconds())
    with store.engine.begin() as connection:
        assert archive_batch(connection, options) < options.batch_size

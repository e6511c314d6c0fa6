"""How long pages of tasks and figures take, with histories of several sizes.

Each query reads a page, so it should take about the same time with any number of tasks
in the history, which `--rows N …` chooses. The tasks ended in the last 90 days.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

from sqlalchemy import Connection, text

from cadasta.workertoolbox.results import TaskStore
from measuring.figures import Row
from measuring.query_times import compare_sizes, scalar
from measuring.rounds import timed
from support.sample_history import DAYS, RARE_QUEUE, SAMPLE

#: Filters of `TaskStore.list`, by a description of the list. Those of `{…}` are values
#: of a sample.
LISTINGS: Mapping[str, Mapping[str, Any]] = {
    "all": {},
    "of a name": {"name": "export.3"},
    "of a rare name": {"name": "export.rare"},
    "of a name that nothing has": {"name": "nothing"},
    "of a queue": {"queue": "queue3"},
    "of a rare queue": {"queue": RARE_QUEUE},
    "failures of a name": {"status": "FAILURE", "name": "export.3"},
    **{
        status: {"status": status}
        for status in (
            *("SUCCESS", "FAILURE", "REVOKED"),
            *("STARTED", "QUEUED", "SCHEDULED", "PLANNED"),
        )
    },
}

#: Columns of a task of a number of days ago, as filters of `TaskStore.list`.
SAMPLED = (("worker", 1), ("worker", DAYS * 2 // 3), ("error_group", 1))

#: The size in bytes of all tables of the history with their indexes, per task.
BYTES_PER_TASK = """
SELECT sum(pg_total_relation_size(relid)) / (SELECT count(*) FROM workertoolbox_history)
FROM pg_partition_tree('workertoolbox_history')
"""


def queries(
    store: TaskStore, connection: Connection
) -> dict[str, Callable[[], object]]:
    """Return the queries by title."""
    new, old = (
        scalar(connection, SAMPLE.format(column="id", days=days))
        for days in (0, DAYS // 2)
    )
    root = scalar(connection, SAMPLE.format(column="parent_id", days=DAYS // 2))
    listings = dict(LISTINGS)
    for column, days in SAMPLED:
        value = scalar(connection, SAMPLE.format(column=column, days=days))
        title = f"of {column.replace('_', ' ')} of {days} days ago"
        listings[title] = {column: value}
    now = datetime.now(UTC)
    hour, day = timedelta(hours=1), timedelta(days=1)
    return {
        **{f"list: {title}": partial(store.list, **w) for title, w in listings.items()},
        "get: a task of today": partial(store.get, new),
        "get: a task of last month": partial(store.get, old),
        "find: an unknown task": partial(store.find, "unknown"),
        "attempts: of last month": partial(store.attempts, old),
        "workflow: by its root": partial(store.workflow, root),
        "children: by their parent": partial(store.children, root),
        "stuck: for longer than 15 minutes": partial(store.stuck, hour / 4),
        "backlog: of the last hour": partial(store.backlog_samples, since=now - hour),
        "backlog: of a day, by the hour": partial(
            store.backlog_samples, since=now - day, step=hour
        ),
        **{
            f"p95 of a name over {days} days": partial(
                store.figures, since=now - days * day, name="export.3"
            )
            for days in (1, 30)
        },
    }


def others(store: TaskStore) -> Mapping[str, float]:
    """Return the size of a task, and the time in which a day is dropped."""
    with store.engine.connect() as connection:
        size = float(scalar(connection, BYTES_PER_TASK))
    return {"bytes per task": size, "drop a day, ms": drop_ms(store)}


def drop_ms(store: TaskStore) -> float:
    """Return the milliseconds in which one day is dropped, as the archiver does."""
    day = datetime.now(UTC).date() - timedelta(days=DAYS // 2)

    def drop(_: int) -> None:
        with store.engine.begin() as connection:
            connection.execute(
                text("SELECT workertoolbox_drop_day('default', :day)"), {"day": day}
            )

    return timed(drop, 1) * 1000


def measure(*options: str) -> Iterator[Row]:
    """Yield the time of each query."""
    return compare_sizes(queries, options, others=others)

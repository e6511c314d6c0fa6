"""How long answers to an operator's questions take, with histories of several sizes.

Searches by what indexes support have no limit of time; others have a window of a day.
`--rows N …` chooses the sizes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from functools import partial

from sqlalchemy import Connection

from cadasta.workertoolbox.results import TaskStore
from measuring.figures import Row
from measuring.query_times import compare_sizes, scalar
from support.sample_history import DAYS, SAMPLE

#: Queries of `TaskStore.search`. `{worker}` and `{error_group}` are values of a sample.
SEARCHES = (
    "name:export.3",
    "name:export.3 OR name:export.rare",
    "name:export.rare status:failure",
    "status:failure name:export.*",
    "status:revoked",
    "worker:{worker}",
    "error_group:{error_group}",
    "queue:queue3 args.size:1",
)

#: Queries that no index supports, in a window of a day.
IN_A_DAY = ('error:"no map"', "name:*.rare", "args.size:2", "run:>30s")

#: The longest that statistics of 30 days may take, in milliseconds.
LIMITS_MS = {f"stats: by {each}, of 30 days": 100.0 for each in ("name", "queue")}


def queries(
    store: TaskStore, connection: Connection
) -> dict[str, Callable[[], object]]:
    """Return the queries by title."""
    samples = {
        column: scalar(connection, SAMPLE.format(column=column, days=DAYS // 3))
        for column in ("worker", "error_group")
    }
    old = scalar(connection, SAMPLE.format(column="id", days=DAYS // 2))
    root = scalar(connection, SAMPLE.format(column="parent_id", days=DAYS // 2))
    now = datetime.now(UTC)
    day, month = now - timedelta(days=1), now - timedelta(days=30)
    return {
        **{
            f"search: {query}": partial(store.search, query.format(**samples))
            for query in SEARCHES
        },
        **{
            f"search, of a day: {query}": partial(store.search, query, since=day)
            for query in IN_A_DAY
        },
        "workflow": partial(store.workflow, root),
        **{
            f"why: {title}": partial(store.why, id)
            for title, id in (
                ("a task that has ended", old),
                ("a queued task", "live9999"),
                ("a planned step", "step7"),
                ("an unknown task", "unknown"),
            )
        },
        "stats: of a day": partial(store.stats, since=day),
        "stats: by name, of a day": partial(store.stats, since=day, by="name"),
        "stats: by name, of 30 days": partial(store.stats, since=month, by="name"),
        "stats: by queue, of 30 days": partial(store.stats, since=month, by="queue"),
        "backlog": store.backlog,
        "stuck: for longer than the p99": store.stuck_by_p99,
        "errors": store.error_groups,
        "error group": partial(store.error_group, samples["error_group"]),
        "schedules": store.schedules,
        "workers": store.workers,
        "services": store.services,
        "untracked: of a day": partial(store.untracked, since=day),
        "names": store.names,
        "queues": store.queues,
    }


def measure(*options: str) -> Iterator[Row]:
    """Yield the time of each query."""
    return compare_sizes(queries, options, limits_ms=LIMITS_MS)

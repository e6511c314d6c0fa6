"""The errors of the last hours in groups of errors, beside the runs of their tasks."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import NamedTuple

from celery.states import RETRY
from sqlalchemy import Connection, case, func, select, text

from cadasta.workertoolbox.results._database.tables import HAS_GROUP, rollup
from cadasta.workertoolbox.results._history.tiers import TIERS, interval_start

#: Number of hours in `ErrorGroup.recent`.
RECENT_HOURS = 24


class RecentErrors(NamedTuple):
    """What happened in the last hours; see `ErrorGroup`."""

    recent: Sequence[int]
    recent_runs: int


#: The number of runs that ended with the status of a row. Of an attempt that was
#: retried, only the retry is counted.
_RUNS = func.sum(
    case((rollup.c.status == RETRY, rollup.c.retries), else_=rollup.c["count"])
)


def read_recent(
    connection: Connection, keys: Sequence[str], now: datetime
) -> Mapping[str, RecentErrors]:
    """Return what happened in the last hours in groups, by their keys."""
    hour = TIERS["hour"]
    first = interval_start(now, hour) - (RECENT_HOURS - 1) * hour
    query = (
        select(rollup.c.error_group, rollup.c.at, rollup.c.name, _RUNS)
        .where(
            rollup.c.error_group.in_(keys),
            text(HAS_GROUP),  # As text, so that SQLite finds the partial index.
            rollup.c.tier == "hour",
            rollup.c.at >= first,
        )
        .group_by(rollup.c.error_group, rollup.c.at, rollup.c.name)
    )
    errors = {key: [0] * RECENT_HOURS for key in keys}
    names: dict[str, set[str]] = {key: set() for key in keys}
    for key, at, name, number in connection.execute(query):
        # The clock of a worker may be ahead.
        errors[key][min((at - first) // hour, RECENT_HOURS - 1)] += int(number)
        names[key].add(name)
    runs = _count_runs(connection, set().union(*names.values()), first)
    return {
        key: RecentErrors(errors[key], sum(runs[name] for name in names[key]))
        for key in keys
    }


def _count_runs(
    connection: Connection, names: Collection[str], since: datetime
) -> Mapping[str, int]:
    """Return the number of runs of tasks since an hour, by their names."""
    if not names:
        return {}
    query = (
        select(rollup.c.name, _RUNS)
        .where(
            rollup.c.tier == "hour",
            rollup.c.at >= since,
            rollup.c.name.in_(sorted(names)),
        )
        .group_by(rollup.c.name)
    )
    return {row[0]: int(row[1]) for row in connection.execute(query)}

"""Statistics as lines, for `tasks stats --json` and the web API."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import ClassVar, Literal

from cadasta.workertoolbox.results._json_record import JsonRecord
from cadasta.workertoolbox.results._store.figures.stats import (
    Grouping,
    Stats,
    StatsRow,
    StatsTable,
)

#: What a line is about.
Kind = Literal["name", "queue", "rest", "total"]


@dataclass(frozen=True, slots=True, kw_only=True)
class StatsLine(JsonRecord):
    """Statistics of the tasks with one name or queue, of the others, or of all tasks.

    Attributes:
        kind: `name` or `queue`; `rest` for the names or queues without a line; `total`
            for all tasks.
        value: The name or the queue; None if it is not known, and for `rest` and
            `total`.
        since: The start of the window.
        until: Its end, which is not included.
        now: Statistics of the window.
        before: Statistics of the window of the same length before it; None if it began
            before the first task that figures are kept of.
    """

    json_merged: ClassVar = frozenset({"now"})

    kind: Kind
    value: str | None
    since: datetime
    until: datetime
    now: Stats
    before: Stats | None


def stats_lines(table: StatsTable, by: Grouping) -> Iterator[StatsLine]:
    """Yield the rows of a table, then the rest, if there is one, and the total."""
    for row in table.rows:
        yield _line(table, by, row)
    if table.rest is not None:
        yield _line(table, "rest", table.rest)
    yield _line(table, "total", table.total)


def _line(table: StatsTable, kind: Kind, row: StatsRow) -> StatsLine:
    return StatsLine(
        kind=kind,
        value=row.value,
        since=table.since,
        until=table.until,
        now=row.now,
        before=row.before,
    )

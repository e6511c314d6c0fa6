"""Sums of rows of `workertoolbox_rollup`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from celery import states
from sqlalchemy import ColumnElement, Connection, Row, Select, Text, cast, func, select

from cadasta.workertoolbox.results._database.statuses import LOST
from cadasta.workertoolbox.results._database.tables import rollup
from cadasta.workertoolbox.results._history.histogram import Histogram
from cadasta.workertoolbox.results._history.tally import Columns, Tally
from cadasta.workertoolbox.results._json_record import JsonRecord

#: Statuses of tasks that count as failed.
FAILED = (states.FAILURE, LOST)


@dataclass(frozen=True, slots=True)
class Percentiles(JsonRecord):
    """Percentiles of durations, within 2 %; None if no duration is known.

    Attributes:
        p50_s: The median in seconds.
        p95_s: The 95th percentile in seconds.
        p99_s: The 99th percentile in seconds.
    """

    p50_s: float | None
    p95_s: float | None
    p99_s: float | None


class RollupSum(NamedTuple):
    """The sum of rows.

    Attributes:
        ended: The sum of those about ended tasks.
        statuses: Number of ended tasks by status.
        failed_attempts: Number of attempts that failed and were retried.
    """

    ended: Tally
    statuses: Counter[str]
    failed_attempts: int


def select_sums(first: ColumnElement[Any]) -> Select[Any]:
    """Return a query for sums of rows by a column and the status, for `sum_rows`.

    The texts of histograms are joined, as Python reads few long rows faster. Those of
    each tier are joined alone: the sums of hours and days are kept.

    Args:
        first: The first column. `status` and the columns of `Columns` follow.
    """
    columns = [*rollup.c][-len(Columns._fields) :]
    sums = [
        func.aggregate_strings(column, "\n")
        if isinstance(column.type, Text)
        else cast(func.sum(column), column.type)
        for column in columns
    ]
    labelled = zip(sums, Columns._fields, strict=True)
    return select(
        first, rollup.c.status, *(each.label(name) for each, name in labelled)
    ).group_by(first, rollup.c.status, rollup.c.tier)


def prefer_indexes(connection: Connection) -> None:
    """Keep PostgreSQL from reading all rollups until the transaction ends.

    It takes the tier and the time of a row for independent, although most rows of the
    last days are those of minutes. So it expects many more hours than there are.
    """
    if connection.dialect.name == "postgresql":
        connection.exec_driver_sql("SET LOCAL enable_seqscan = off")


def same(filters: Mapping[str, str | None]) -> Sequence[ColumnElement[bool]]:
    """Return the conditions that columns of the rollups have values; None is any."""
    return [
        rollup.c[name] == value for name, value in filters.items() if value is not None
    ]


def sum_rows(rows: Iterable[Row[Any]]) -> RollupSum:
    """Return the sum of rows of `select_sums`."""
    ended: list[Columns] = []
    statuses: Counter[str] = Counter()
    failed_attempts = 0
    for row in rows:
        columns = Columns._make(row[2:])
        if row.status == states.RETRY:
            failed_attempts += columns.retries
        else:
            ended.append(columns)
            statuses[row.status] += columns.tasks
    return RollupSum(Tally.from_columns(*ended), statuses, failed_attempts)


def merge_sums(*sums: RollupSum) -> RollupSum:
    """Return the sum of sums."""
    return RollupSum(
        Tally.merge([each.ended for each in sums]),
        sum((each.statuses for each in sums), Counter()),
        sum(each.failed_attempts for each in sums),
    )


def percentiles_of(histogram: Histogram) -> Percentiles:
    """Return the percentiles of the durations in a histogram."""
    return Percentiles(*histogram.percentiles(50, 95, 99))

"""Sums of rows of `workertoolbox_rollup`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, NamedTuple

from celery import states
from sqlalchemy import ColumnElement, Connection, Row, Select, Text, cast, func, select

from cadasta.workertoolbox.results._database.statuses import LOST
from cadasta.workertoolbox.results._database.tables import rollup
from cadasta.workertoolbox.results._history.histogram import sum_percentiles
from cadasta.workertoolbox.results._history.histogram_text import (
    BucketSums,
    add_sums,
    sum_texts,
)
from cadasta.workertoolbox.results._history.tally import Columns
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
        tasks: Number of ended tasks.
        retries: Number of their retries.
        redeliveries: Number of their runs that were lost or duplicates.
        waits: Histogram of the seconds that they waited.
        runs: Histogram of the seconds that they ran.
        totals: Histogram of the seconds from their publication to their end.
        statuses: Number of ended tasks by status.
        failed_attempts: Number of attempts that failed and were retried.
    """

    tasks: int
    retries: int
    redeliveries: int
    waits: BucketSums
    runs: BucketSums
    totals: BucketSums
    statuses: Counter[str]
    failed_attempts: int


@cache
def select_sums(column: str) -> Select[Any]:
    """Return a query for sums of rows by a column and the status, for `sum_rows`.

    The texts of histograms are joined, as Python reads few long rows faster. Those of
    each tier are joined alone: the sums of hours and days are kept.

    Args:
        column: The first column of the rows, as `value`. `status` and the columns of
            `Columns` follow.
    """
    columns = [*rollup.c][-len(Columns._fields) :]
    sums = [
        func.aggregate_strings(each, "\n")
        if isinstance(each.type, Text)
        else cast(func.sum(each), each.type)
        for each in columns
    ]
    labelled = zip(sums, Columns._fields, strict=True)
    value = rollup.c[column].label("value")
    return select(
        value, rollup.c.status, *(each.label(name) for each, name in labelled)
    ).group_by(value, rollup.c.status, rollup.c.tier)


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
    return RollupSum(
        sum([each.tasks for each in ended]),
        sum([each.retries for each in ended]),
        sum([each.redeliveries for each in ended]),
        sum_texts([each.waits for each in ended]),
        sum_texts([each.runs for each in ended]),
        sum_texts([each.totals for each in ended]),
        statuses,
        failed_attempts,
    )


def merge_sums(*sums: RollupSum) -> RollupSum:
    """Return the sum of sums."""
    return RollupSum(
        sum([each.tasks for each in sums]),
        sum([each.retries for each in sums]),
        sum([each.redeliveries for each in sums]),
        add_sums([each.waits for each in sums]),
        add_sums([each.runs for each in sums]),
        add_sums([each.totals for each in sums]),
        sum((each.statuses for each in sums), Counter()),
        sum([each.failed_attempts for each in sums]),
    )


def percentiles_of(sums: BucketSums) -> Percentiles:
    """Return the percentiles of the durations that sums of histograms count."""
    return Percentiles(*sum_percentiles(sums, 50, 95, 99))

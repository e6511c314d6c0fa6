"""The tables of figures, and of groups of errors, which the archiver writes."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Float, Index, Integer, Table, Text

from cadasta.workertoolbox.results._database.tables.table_parts import (
    metadata,
    partial_index,
)
from cadasta.workertoolbox.results._database.types import Instant

#: Most rows of the rollups belong to no group of errors.
HAS_GROUP = "error_group <> ''"

#: A row per interval, name, queue, status and error group: the tasks that ended then.
#: Each task is counted once in each tier. See `_history/rollup.py`.
rollup = Table(
    "workertoolbox_rollup",
    metadata,
    # `minute`, `hour` or `day`.
    Column("tier", Text, primary_key=True),
    # The start of the interval.
    Column("at", Instant, primary_key=True),
    # Empty if the name, the queue or the group is not known.
    Column("name", Text, primary_key=True),
    Column("queue", Text, primary_key=True),
    # The status of ended tasks, or `RETRY` for failed attempts that were retried.
    Column("status", Text, primary_key=True),
    Column("error_group", Text, primary_key=True),
    Column("count", BigInteger, nullable=False),
    # In rows with the status `RETRY`, the number of attempts.
    Column("retries", BigInteger, nullable=False),
    Column("redeliveries", BigInteger, nullable=False),
    # Histograms of seconds, in the form of `_history/histogram_text.py`.
    Column("waits", Text, nullable=False),
    Column("runs", Text, nullable=False),
    # From the first publication to the end, of tasks that a worker has run. Earlier
    # releases, and the tasks that they archived, leave it empty.
    Column("totals", Text, nullable=False, server_default=""),
    Index("ix_workertoolbox_rollup_name", "name", "tier", "at"),
    partial_index("rollup_error_group", "error_group", "tier", "at", rows=HAS_GROUP),
    # Rows are updated often. With free space on their page, indexes are not updated.
    postgresql_with={"fillfactor": 70},
)

#: A row per interval and queue: the tasks that were queued then, as one sample a minute
#: counts them. The row with an empty queue counts the tasks of all queues. Each
#: interval with a sample has such a row; a queue without a row had no tasks.
backlog = Table(
    "workertoolbox_backlog",
    metadata,
    Column("tier", Text, primary_key=True),
    Column("at", Instant, primary_key=True),
    Column("queue", Text, primary_key=True),
    # Number of samples in which the queue had tasks.
    Column("samples", BigInteger, nullable=False),
    Column("queued_sum", BigInteger, nullable=False),
    Column("queued_max", BigInteger, nullable=False),
    # Tasks with an ETA ahead.
    Column("scheduled_sum", BigInteger, nullable=False),
    Column("scheduled_max", BigInteger, nullable=False),
    # The longest wait in seconds, from when a queued task could run.
    Column("oldest_max_s", Float, nullable=False),
)

#: A row per group of errors. Its type, place and sample are those of the latest error.
error_group = Table(
    "workertoolbox_error_group",
    metadata,
    # The version of the fingerprint, and the fingerprint.
    Column("id", Text, primary_key=True),
    Column("version", Integer, nullable=False),
    Column("type", Text),
    # The function of the service that raised the error, or NULL.
    Column("place", Text),
    # The name of the task of the first error.
    Column("name", Text),
    # NULL if the task of the latest error was erased.
    Column("sample", Text),
    Column("first_task_id", Text),
    Column("last_task_id", Text),
    Column("first_at", Instant, nullable=False),
    Column("last_at", Instant, nullable=False),
    # Number of errors, including those after which the task was retried.
    Column("count", BigInteger, nullable=False),
    Column("retries", BigInteger, nullable=False),
    # `open`, `resolved` or `ignored`, as a user has decided.
    Column("state", Text, nullable=False),
    Column("resolved_at", Instant),
    Index("ix_workertoolbox_error_group_last_at", "last_at"),
)

"""The tables of tasks that are not archived yet, which monitors write."""

from __future__ import annotations

from sqlalchemy import Boolean, Column, Float, Index, Integer, Table, Text

from cadasta.workertoolbox.results._database.tables.table_parts import (
    metadata,
    partial_index,
)
from cadasta.workertoolbox.results._database.types import Document, Instant

#: A row per live task, with the content of its latest message. `scheduled_at` is the
#: instant when the first message was published, and `seen_at` the instant when a
#: monitor saw the message that was stored first.
task = Table(
    "workertoolbox_task",
    metadata,
    Column("id", Text, primary_key=True),
    Column("name", Text, nullable=False),
    Column("queue", Text, nullable=False),
    Column("args", Document),
    Column("kwargs", Document),
    Column("root_id", Text),
    Column("parent_id", Text),
    Column("group_id", Text),
    Column("replaced", Integer, nullable=False),
    Column("retries", Integer, nullable=False),
    Column("scheduled_at", Instant, nullable=False),
    Column("eta", Instant),
    Column("expires", Instant),
    Column("origin", Text),
    Column("ignore_result", Boolean, nullable=False),
    Column("seen_at", Instant, nullable=False),
    # When the latest message was published, if the message says so. The results of its
    # runs have the same time, which may be wrong; see `MAX_SKEW`.
    Column("published_at", Instant),
    # The hard time limit of the task, if the latest message has one.
    Column("time_limit_s", Float),
    # The sender, and the headers that users have added; see `TaskRecord`.
    Column("service", Text),
    Column("schedule", Text),
    Column("headers", Document),
    # The task that this one repeats, and what else a rerun needs; see `TaskRecord`.
    Column("rerun_of", Text),
    Column("arguments", Text),
    Column("options", Document),
    Column("digest", Text),
    # Where the sender's results go, if not to this database; see `TaskRecord`.
    Column("results_elsewhere", Text),
    Index("ix_workertoolbox_task_scheduled_at", "scheduled_at"),
    Index("ix_workertoolbox_task_root_id", "root_id"),
    Index("ix_workertoolbox_task_name", "name", "scheduled_at"),
    Index("ix_workertoolbox_task_queue", "queue", "scheduled_at"),
    Index("ix_workertoolbox_task_seen_at", "seen_at"),
    partial_index("task_eta", "eta", rows="eta IS NOT NULL"),
    partial_index("task_expires", "expires", rows="expires IS NOT NULL"),
    partial_index("task_parent_id", "parent_id", rows="parent_id IS NOT NULL"),
    partial_index("task_group_id", "group_id", rows="group_id IS NOT NULL"),
)

#: A row per message of a live task. A task is published again under its id when it is
#: retried (`retries`) and when it replaces itself with another task (`replaced`).
#: `scheduled_at` is the time that the message states, or else `seen_at`.
attempt = Table(
    "workertoolbox_attempt",
    metadata,
    Column("task_id", Text, primary_key=True),
    Column("replaced", Integer, primary_key=True, autoincrement=False),
    Column("retries", Integer, primary_key=True, autoincrement=False),
    Column("name", Text, nullable=False),
    Column("queue", Text, nullable=False),
    Column("scheduled_at", Instant, nullable=False),
    Column("eta", Instant),
    Column("seen_at", Instant, nullable=False),
)

#: A row per task that the message of another task announces. The row is deleted when
#: the task is archived.
planned = Table(
    "workertoolbox_planned",
    metadata,
    Column("id", Text, primary_key=True),
    Column("name", Text, nullable=False),
    Column("root_id", Text),
    Column("parent_id", Text),
    Column("seen_at", Instant, nullable=False),
    Column("group_id", Text),
    # The group before the step, if that is the header of a chord.
    Column("header_id", Text),
    Index("ix_workertoolbox_planned_root_id", "root_id"),
    Index("ix_workertoolbox_planned_parent_id", "parent_id"),
    Index("ix_workertoolbox_planned_name", "name", "seen_at"),
    Index("ix_workertoolbox_planned_seen_at", "seen_at"),
    partial_index("planned_group_id", "group_id", rows="group_id IS NOT NULL"),
    partial_index("planned_header_id", "header_id", rows="header_id IS NOT NULL"),
)

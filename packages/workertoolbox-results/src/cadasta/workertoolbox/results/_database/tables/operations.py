"""The tables of operations, which commands write."""

from __future__ import annotations

from sqlalchemy import Column, Index, Integer, Table, Text

from cadasta.workertoolbox.results._database.tables.table_parts import metadata
from cadasta.workertoolbox.results._database.types import Instant

#: A row per operation: a command that has published tasks again.
operation = Table(
    "workertoolbox_operation",
    metadata,
    Column("id", Text, primary_key=True),
    # `rerun` or `failed-steps`.
    Column("kind", Text, nullable=False),
    # Who began it, such as `ann@host`, and why.
    Column("made_by", Text, nullable=False),
    Column("reason", Text),
    # What was asked for: ids, a query, or the root of a workflow.
    Column("selection", Text, nullable=False),
    # Number of tasks.
    Column("tasks", Integer, nullable=False),
    Column("started_at", Instant, nullable=False),
    # When no task was left that could be published.
    Column("finished_at", Instant),
    Index("ix_workertoolbox_operation_started_at", "started_at"),
)

#: A row per task of an operation.
operation_task = Table(
    "workertoolbox_operation_task",
    metadata,
    Column("operation_id", Text, primary_key=True),
    # The task that is repeated, and the id under which it is published.
    Column("task_id", Text, primary_key=True),
    Column("position", Integer, nullable=False),
    Column("name", Text),
    Column("new_id", Text, nullable=False),
    # `waiting`, `publishing`, `published` or `refused`; see `_store/operations.py`.
    Column("state", Text, nullable=False),
    # Why it was refused, or what the broker answered.
    Column("note", Text),
    Column("changed_at", Instant, nullable=False),
    Index("ix_workertoolbox_operation_task_task_id", "task_id"),
)

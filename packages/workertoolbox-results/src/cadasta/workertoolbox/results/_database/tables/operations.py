"""The tables of operations, which commands write."""

from __future__ import annotations

from sqlalchemy import Column, Index, Integer, Table, Text

from cadasta.workertoolbox.results._database.tables.table_parts import (
    metadata,
    partial_index,
)
from cadasta.workertoolbox.results._database.types import Instant

#: The kinds of operations that change the state of a group of errors.
CHANGES_ERRORS = "kind IN ('resolve', 'ignore', 'reopen')"

#: A row per operation: tasks were published again, or a group of errors was changed.
operation = Table(
    "workertoolbox_operation",
    metadata,
    Column("id", Text, primary_key=True),
    # `rerun` or `failed-steps`; `resolve`, `ignore` or `reopen` for a group of errors.
    Column("kind", Text, nullable=False),
    # Who began it, such as `ann@host`, and why.
    Column("made_by", Text, nullable=False),
    Column("reason", Text),
    # What was asked for: ids, a query, the root of a workflow, or a group of errors.
    Column("selection", Text, nullable=False),
    # Number of tasks.
    Column("tasks", Integer, nullable=False),
    Column("started_at", Instant, nullable=False),
    # When no task was left that could be published.
    Column("finished_at", Instant),
    Index("ix_workertoolbox_operation_started_at", "started_at"),
    partial_index(
        *("operation_error_group", "selection", "started_at"), rows=CHANGES_ERRORS
    ),
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
    # `waiting`, `publishing`, `published` or `refused`; see
    # `_store/operations/journal.py`.
    Column("state", Text, nullable=False),
    # Why it was refused, or what the broker answered.
    Column("note", Text),
    Column("changed_at", Instant, nullable=False),
    Index("ix_workertoolbox_operation_task_task_id", "task_id"),
)

"""The views of tasks, which `view.*.sql` defines.

The newest migration that changes a view executes that file. Older migrations contain
the definitions of their time.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from sqlite3 import complete_statement
from typing import Any

from sqlalchemy import (
    Boolean,
    Column,
    Connection,
    Float,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
)

from cadasta.workertoolbox.results._database.types import Document, Instant


def _first_columns() -> list[Column[Any]]:
    """Return the columns that both views begin with."""
    return [
        Column("id", Text, primary_key=True),
        Column("name", Text),
        Column("status", Text),
        Column("queue", Text),
        Column("args", Document),
        Column("kwargs", Document),
        Column("root_id", Text),
        Column("parent_id", Text),
        Column("group_id", Text),
        Column("retries", Integer),
        Column("scheduled_at", Instant),
        Column("eta", Instant),
        Column("started_at", Instant),
        Column("finished_at", Instant),
        Column("worker", Text),
    ]


def _sender_columns(*first: str) -> list[Column[Any]]:
    """Return the columns with the sender and the headers of a task."""
    names = (*first, "service", "schedule")
    return [*(Column(name, Text) for name in names), Column("headers", Document)]


#: Every task: live tasks with their results, the history, and planned steps. A task
#: without a result has the status `QUEUED`, `SCHEDULED` or `PLANNED`.
tasks = Table(
    "workertoolbox_tasks",
    MetaData(),
    *_first_columns(),
    Column("result", Document),
    Column("traceback", Text),
    Column("tracked", Boolean),
    Column("waited_s", Float),
    *_sender_columns("origin"),
    Column("rerun_of", Text),
    Column("arguments", Text),
)


def _live_columns() -> list[Column[Any]]:
    """Return the columns of live tasks; results are as stored."""
    return [
        *_first_columns(),
        Column("result", LargeBinary),
        Column("not_run", Text),
        Column("traceback", Text),
        Column("tracked", Boolean),
        Column("waited_s", Float),
        Column("children", LargeBinary),
        Column("attempts", Document),
        Column("error_group", Text),
        Column("forgotten", Boolean),
        Column("published_at", Instant),
        Column("replaced", Integer),
        Column("expires", Instant),
        Column("origin", Text),
        Column("ignore_result", Boolean),
        Column("seen_at", Instant),
        *_sender_columns(),
        Column("result_bytes", Integer),
        Column("rerun_of", Text),
        Column("arguments", Text),
        Column("options", Document),
        Column("digest", Text),
    ]


#: Live tasks: those with a message or a result that is not archived.
live = Table("workertoolbox_live", MetaData(), *_live_columns())

#: Live tasks with a message. The last columns are those of the message, even if a run
#: of another message with the same id is shown.
tracked = Table(
    "workertoolbox_tracked",
    MetaData(),
    *_live_columns(),
    *(
        Column(f"message_{name}", Text)
        for name in ("name", "queue", "root_id", "parent_id", "group_id")
    ),
    Column("message_at", Instant),
)


def create_views(connection: Connection) -> None:
    """Create or replace the views, and on PostgreSQL the function that they use.

    On PostgreSQL the views are replaced, not dropped, so that roles keep their
    privileges on them.
    """
    if connection.dialect.name == "sqlite":
        for view in (tasks, live, tracked):
            connection.exec_driver_sql(f"DROP VIEW IF EXISTS {view.name}")
    execute_file(connection, "view")


def execute_file(connection: Connection, name: str) -> None:
    """Execute the statements in a file of this folder, `{name}.{dialect}.sql`."""
    file = Path(__file__).with_name(f"{name}.{connection.dialect.name}.sql")
    for statement in _statements(file.read_text("utf-8"), connection.dialect.name):
        # Without parameters, drivers accept several statements and do not interpret %.
        options = {"no_parameters": True}
        connection.exec_driver_sql(statement, execution_options=options)


def _statements(script: str, dialect: str) -> Iterator[str]:
    """Split a script into the parts that the driver executes at once."""
    if dialect != "sqlite":
        yield script
        return
    statement = ""
    for line in script.splitlines(keepends=True):
        statement += line
        if complete_statement(statement) and statement.strip():
            yield statement
            statement = ""

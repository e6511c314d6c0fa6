"""The view `workertoolbox_tasks`, whose current definition is in `view.*.sql`.

The newest migration that changes the view executes that file. Older migrations contain
the definitions of their time.
"""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import Connection


def create_view(connection: Connection) -> None:
    """Create or replace the view, and on PostgreSQL the function that it uses.

    On PostgreSQL the view is replaced, not dropped, so that roles keep their privileges
    on it.
    """
    dialect = connection.dialect.name
    if dialect == "sqlite":
        connection.exec_driver_sql("DROP VIEW IF EXISTS workertoolbox_tasks")
    file = Path(__file__).with_name(f"view.{dialect}.sql")
    # Without parameters, drivers accept several statements and leave % alone.
    options = {"no_parameters": True}
    connection.exec_driver_sql(file.read_text("utf-8"), execution_options=options)

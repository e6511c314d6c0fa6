"""Triggers with which a PostgreSQL database refuses every row of some tables."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import URL

from support.statements import execute

TABLES = ("celery_taskmeta", "workertoolbox_task", "workertoolbox_quarantine")

_REFUSE = """
CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN RAISE EXCEPTION 'refused for a while' USING ERRCODE = '{code}'; END $$
"""
_TRIGGER = (
    "CREATE TRIGGER refuse BEFORE INSERT OR UPDATE ON {table}"
    " FOR EACH ROW {condition} EXECUTE FUNCTION refuse()"
)


@contextmanager
def refused_rows(
    database: str | URL,
    code: str,
    *,
    tables: tuple[str, ...] = TABLES,
    condition: str = "",
) -> Iterator[None]:
    """Let writes fail with an SQLSTATE as long as the block lasts.

    Args:
        condition: A `WHEN (…)` for the rows to refuse; all rows without one.
    """
    create = (_TRIGGER.format(table=each, condition=condition) for each in tables)
    execute(database, _REFUSE.format(code=code), *create)
    try:
        yield
    finally:
        execute(database, "DROP FUNCTION refuse CASCADE")

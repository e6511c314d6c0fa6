"""A state of a task into the table of results: one statement, one round trip."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

from celery import states
from sqlalchemy import ColumnElement, Dialect, and_, bindparam, func, or_
from sqlalchemy.dialects.postgresql import Insert

from cadasta.workertoolbox.results._database.connection import Database
from cadasta.workertoolbox.results._database.engine import insert_into
from cadasta.workertoolbox.results._database.statement import (
    Statement,
    compile_statement,
    execute,
)
from cadasta.workertoolbox.results._database.statuses import FINAL
from cadasta.workertoolbox.results._database.tables import taskmeta

#: Columns that belong to a state; a new one replaces them, by nothing too. The others
#: belong to the task, and stay where a state comes without them.
_OF_THE_STATE = {"status", "result", "date_done", "traceback", "children"}


def write_state(
    database: Database, row: Mapping[str, Any], *, is_first: bool = False
) -> None:
    """Store a state, unless a more final one is there already.

    Args:
        database: Its connection commits by itself.
        row: Values of the table's columns; None where there is none.
        is_first: Whether nothing is likely to be stored of the task. It is only
            quicker: a statement that replaces nothing takes PostgreSQL less time.
    """
    given = {name: value for name, value in row.items() if value is not None}
    names = frozenset(given)
    # A state on the way is only news; if a crash of the server takes it, the end comes.
    final = row["status"] in FINAL
    if is_first:
        insert = _insert(database.dialect, names)
        if execute(database, [insert], given, synchronous_commit=final).count:
            return
    upsert = _upsert(database.dialect, names, final)
    execute(database, [upsert], given, synchronous_commit=final)


# No statement is longer than it has to be: PostgreSQL reads and plans it anew each
# time, and that takes most of its time.


@cache
def _insert(dialect: Dialect, given: frozenset[str]) -> Statement:
    insert = _values(dialect, given).on_conflict_do_nothing()
    return compile_statement(dialect, insert.inline())


@cache
def _upsert(dialect: Dialect, given: frozenset[str], final: bool) -> Statement:
    insert = _values(dialect, given)
    changed = sorted((given | _OF_THE_STATE) - {"task_id"})
    upsert = insert.on_conflict_do_update(
        index_elements=[taskmeta.c.task_id],
        set_={name: insert.excluded[name] for name in changed},
        where=_advances(insert, has_retries="retries" in given, final=final),
    )
    return compile_statement(dialect, upsert.inline())


def _values(dialect: Dialect, given: frozenset[str]) -> Insert:
    return insert_into(taskmeta, dialect.name).values(
        {name: bindparam(name, type_=taskmeta.c[name].type) for name in sorted(given)}
    )


def _advances(insert: Insert, *, has_retries: bool, final: bool) -> ColumnElement[bool]:
    """Return whether the new state comes after the one that is there.

    The first success stays, as in Celery since 5.7. On the way, an earlier attempt does
    not undo a later one.
    """
    old = taskmeta.c
    if final:
        return or_(old.status.is_(None), old.status != states.SUCCESS)
    on_the_way = and_(*(old.status != state for state in FINAL))
    if has_retries:
        on_the_way &= func.coalesce(old.retries, 0) <= insert.excluded.retries
    return or_(old.status.is_(None), on_the_way)

"""Write the state of a task into `celery_taskmeta`: one statement, one round trip."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from types import SimpleNamespace
from typing import Any

from celery import states
from sqlalchemy import (
    ColumnElement,
    Dialect,
    Text,
    and_,
    bindparam,
    case,
    func,
    null,
    or_,
    update,
)
from sqlalchemy.dialects.postgresql import Insert

from cadasta.workertoolbox.results._backend.attempts import (
    is_forgotten,
    is_last,
    is_other_run,
    late_record,
    with_duplicate,
    with_replaced_attempt,
)
from cadasta.workertoolbox.results._backend.overtaken import keep_overtaken
from cadasta.workertoolbox.results._database.connection import Database
from cadasta.workertoolbox.results._database.engine import insert_into
from cadasta.workertoolbox.results._database.statement import (
    Statement,
    compile_statement,
    execute,
)
from cadasta.workertoolbox.results._database.statuses import ENDED, FINAL, LOST
from cadasta.workertoolbox.results._database.tables import taskmeta
from cadasta.workertoolbox.results._database.types import NaiveUTC
from cadasta.workertoolbox.results._history.attempt_records import DUPLICATE

#: Columns that belong to a state: a new state replaces them all, with NULL where it has
#: no value. The other columns belong to the task: they keep their values if a new state
#: has none.
_STATE_COLUMNS = {
    *("status", "result", "date_done", "traceback", "children", "error_group"),
}

#: States that a task does not store itself, and that are not Celery's final ones.
_REPLACEABLE = (
    *(states.STARTED, states.RETRY, states.IGNORED, states.REJECTED),
    LOST,
)

#: Columns that belong to the message. If a worker stores a state with them, NULL
#: replaces the values of another run under the same id.
_MESSAGE_COLUMNS: frozenset[str] = frozenset(
    {"stamps", "root_id", "parent_id", "group_id", "not_run"}
)

#: Columns that identify a run.
_RUN = ("task_id", "started_at")


def write_state(
    database: Database,
    row: Mapping[str, Any],
    *,
    is_first: bool = False,
    is_started: bool = False,
    keeps_start: bool = False,
) -> None:
    """Store a state, unless a more final one is there already.

    Args:
        database: A database whose connection commits each statement.
        row: Values of the table's columns, None for those without a value.
        is_first: Whether the task probably has no row yet. This only saves time: a
            statement that cannot replace a row is cheaper for PostgreSQL.
        is_started: Whether the row probably says that this run has started. This saves
            time too.
        keeps_start: Whether a start that is stored stays, because the given one is not
            that of the task.
    """
    values = {name: value for name, value in row.items() if value is not None}
    names = frozenset(values)
    end = row["status"] if row["status"] in ENDED else None
    # Other states may be lost in a crash of the server, so they are not flushed to
    # disk. A retry is the end of an attempt: the task does not store it again.
    is_flushed = end is not None or row["status"] == states.RETRY
    if is_first:
        insert = _insert(database.dialect, names)
        if execute(database, [insert], values, synchronous_commit=is_flushed).count:
            return
    elif is_started and (end is None or end in FINAL):
        replace = _replace(database.dialect, names)
        if execute(database, [replace], values, synchronous_commit=is_flushed).count:
            return
    upsert = _upsert(database.dialect, names, end, keeps_start)
    if execute(database, [upsert], values, synchronous_commit=is_flushed).count:
        return
    if end in FINAL and "started_at" in names:  # The task has succeeded before.
        add = _add_duplicate(database.dialect, names)
        execute(database, [add], {**values, "duplicate": late_record(row, DUPLICATE)})
    elif row["status"] == states.RETRY and {"started_at", "retries"} <= names:
        keep_overtaken(database, row)


def write_start(database: Database, row: Mapping[str, Any]) -> None:
    """Store the start of a task; only a task that is retried has a row already."""
    write_state(database, row, is_first=not row.get("retries"))


# Statements name only the columns that have values. PostgreSQL parses and plans each
# statement again, which takes most of its time, and more for a longer statement.


@cache
def _insert(dialect: Dialect, names: frozenset[str]) -> Statement:
    insert = _insert_values(dialect, names).on_conflict_do_nothing()
    return compile_statement(dialect, insert.inline())


@cache
def _replace(dialect: Dialect, names: frozenset[str]) -> Statement:
    """Return the statement that replaces a state of the same run by a later one."""
    kept = {"task_id", "started_at", "waited_s"}
    changes: dict[str, Any] = {name: _parameter(name) for name in sorted(names - kept)}
    # Only a retry or an end has an error, and neither is replaced here.
    emptied = _replaced_columns(names) - names - {"error_group"}
    changes |= {name: null() for name in sorted(emptied)}
    same_run = (taskmeta.c[name] == _parameter(name) for name in _RUN)
    unfinished = (taskmeta.c.status != state for state in (states.RETRY, *ENDED))
    statement = update(taskmeta).where(*same_run, *unfinished).values(changes)
    return compile_statement(dialect, statement.inline())


@cache
def _add_duplicate(dialect: Dialect, names: frozenset[str]) -> Statement:
    """Return the statement that keeps a run which ended after the task's success."""
    record: Any = bindparam("duplicate", type_=Text)
    run = ("started_at", "worker", "retries", "published_at")
    new = SimpleNamespace(
        **{name: _parameter(name) if name in names else null() for name in run}
    )
    statement = (
        update(taskmeta)
        .where(
            taskmeta.c.task_id == _parameter("task_id"),
            taskmeta.c.status == states.SUCCESS,
            is_other_run(dialect, new),
            ~is_last(dialect, record),
        )
        .values(attempts=with_duplicate(dialect, record))
    )
    return compile_statement(dialect, statement.inline())


@cache
def _upsert(
    dialect: Dialect, names: frozenset[str], end: str | None, keeps_start: bool
) -> Statement:
    insert = _insert_values(dialect, names)
    changed = _replaced_columns(names) - {"task_id"}
    changes: dict[str, Any] = {name: insert.excluded[name] for name in sorted(changed)}
    changes["attempts"] = with_replaced_attempt(dialect, insert.excluded)
    if "published_at" in names:
        changes |= _attempt_changes(insert, keeps_start=keeps_start)
    elif keeps_start and "started_at" in names:
        old = taskmeta.c.started_at
        changes["started_at"] = func.coalesce(old, insert.excluded.started_at)
    upsert = insert.on_conflict_do_update(
        index_elements=[taskmeta.c.task_id],
        set_=changes,
        where=or_(
            _supersedes(insert, has_retries="retries" in names, end=end),
            *([_is_run_again(insert)] if "published_at" in names else ()),
        ),
    )
    return compile_statement(dialect, upsert.inline())


def _replaced_columns(names: frozenset[str]) -> frozenset[str]:
    """Return the columns that a state replaces, also with NULL."""
    others = _MESSAGE_COLUMNS if "retries" in names else frozenset()
    return names | _STATE_COLUMNS | others


def _attempt_changes(
    insert: Insert, *, keeps_start: bool
) -> dict[str, ColumnElement[Any]]:
    """Return the changes of the columns that belong to an attempt.

    The process that stores a state may not know when the attempt started. An attempt
    that is delivered again has waited until its first start.
    """
    old, new = taskmeta.c, insert.excluded
    is_same = old.published_at == new.published_at
    starts = [new.started_at, case((is_same, old.started_at))]
    waits = [case((is_same, old.waited_s)), new.waited_s]
    return {
        "started_at": func.coalesce(*(reversed(starts) if keeps_start else starts)),
        "waited_s": func.coalesce(*waits),
    }


def _insert_values(dialect: Dialect, names: frozenset[str]) -> Insert:
    values: dict[str, ColumnElement[Any]] = {
        name: _parameter(name) for name in sorted(names)
    }
    if dialect.name == "postgresql":
        # The default would take a value of the sequence even if the row exists, and an
        # `id` of four bytes would run out in two months.
        values["id"] = func.workertoolbox_result_id(values["task_id"])
    return insert_into(taskmeta, dialect.name).values(values)


def _parameter(name: str) -> Any:
    return bindparam(name, type_=taskmeta.c[name].type)


def _is_run_again(insert: Insert) -> ColumnElement[bool]:
    """Return the condition that a state belongs to a message published after the end.

    A task that is published again after its end is a new run, not a duplicate.
    """
    old, new = taskmeta.c, insert.excluded
    is_later = old.published_at < new.published_at
    return and_(is_later, old.date_done < NaiveUTC(new.published_at))


def _supersedes(
    insert: Insert, *, has_retries: bool, end: str | None
) -> ColumnElement[bool]:
    """Return the condition under which a new state replaces the stored one.

    A final state replaces every state except a success: the first success stays, as in
    Celery since 5.7. An intermediate state replaces neither a final state nor a state
    of a later attempt, and the start of an attempt does not replace its retry. If a
    task is ignored or rejected, a state that it has stored itself stays. Every state of
    a new run replaces a forgotten result, and a revocation that was stored before a
    worker had the task, because a restarted worker does not know it. Every state of a
    run replaces the end of a step that was stored as not run. See `_is_run_again` for
    a task that is published again.

    Args:
        end: The new state, if it ends the task.
    """
    old, new = taskmeta.c, insert.excluded
    if end in FINAL:
        return or_(
            old.status.is_(None), old.status != states.SUCCESS, is_forgotten(new)
        )
    is_later = old.date_done < new.date_done
    if end is None:
        is_final = or_(*(old.status == state for state in FINAL))
        replaceable = or_(~is_final, old.not_run.is_not(None))
    else:
        replaceable = or_(*(old.status == state for state in _REPLACEABLE))
    if has_retries:
        retries = func.coalesce(old.retries, 0)
        is_start = and_(old.status == states.RETRY, new.status == states.STARTED)
        # The start of a run may be written after its end.
        replaceable &= retries <= new.retries
        replaceable &= or_(~is_start, retries < new.retries, is_later)
    is_unrun = and_(
        old.status == states.REVOKED, old.started_at.is_(None), old.worker.is_(None)
    )
    again = and_(or_(is_forgotten(new), is_unrun), is_later)
    return or_(old.status.is_(None), replaceable, again)

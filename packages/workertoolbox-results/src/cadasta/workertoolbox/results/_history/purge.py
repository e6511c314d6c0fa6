"""Counting and deleting expired tasks: whole days, and rows in batches."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any

from sqlalchemy import (
    Column,
    ColumnElement,
    Connection,
    Engine,
    delete,
    func,
    literal,
    select,
    tuple_,
    update,
)

from cadasta.workertoolbox.results._database.archived import are_on, find_archived
from cadasta.workertoolbox.results._database.engine import (
    begin_write_transaction,
    translate_errors,
)
from cadasta.workertoolbox.results._database.tables import history, taskmeta
from cadasta.workertoolbox.results._history.days import Day, existing_days
from cadasta.workertoolbox.results._history.dropping import (
    drop_days,
    estimate_days,
    expired_days,
)
from cadasta.workertoolbox.results._history.expiry import age_rules, class_rules
from cadasta.workertoolbox.results._history.expiry_rule import EVERYWHERE, ExpiryRule
from cadasta.workertoolbox.results._history.retention import Retention

_logger = logging.getLogger(__name__)

#: Maximum number of tasks that one transaction reads and deletes. A monitor or a worker
#: that writes one of them waits for that transaction.
BATCH_SIZE = 1000

#: The kinds that are counted for days: dropped days, their approximate number of tasks,
#: and days that could not be dropped.
DAYS = "whole days"
DAY_TASKS = "tasks of whole days"
DAYS_IN_USE = "days in use"


@dataclass(frozen=True)
class Expired:
    """The days and rows that have expired.

    Attributes:
        days: The days that can be dropped, oldest first, with their approximate number
            of tasks. It is empty on SQLite, which keeps all days in one table.
        rules: The rules for rows that are deleted in batches.
    """

    days: Mapping[Day, int]
    rules: Sequence[ExpiryRule]


def find_older(
    engine: Engine,
    before: datetime,
    *,
    status: str | None = None,
    name: str | None = None,
) -> Expired:
    """Return the tasks that are older than an instant, with their results and attempts.

    The age of an ended task counts from its end, and that of a task without a message
    from its result. Other tasks are older than the instant if they were published
    before it, and their ETA, if they have one, is before it too. Groups, chords and
    quarantined messages are included only if neither status nor name is given.

    Raises:
        DatabaseUnavailable: The database cannot be reached or reports an error.
    """
    today = before.astimezone(UTC).date()
    days = _existing_days(engine)
    whole: list[Day] = []
    if days is not None and status is None and name is None:
        whole = [each for each in days if each.day < today]
        days = [each for each in days if each.day >= today]
    rules = age_rules(before, days=days, status=status, name=name)
    return Expired(_estimated(engine, whole), [*rules])


def find_beyond_retention(
    engine: Engine, retention: Retention, *, today: date | None = None
) -> Expired:
    """Return the tasks of the history that are older than `RETENTION` allows.

    Args:
        today: The date in UTC; by default the current one.

    Raises:
        DatabaseUnavailable: The database cannot be reached or reports an error.
    """
    today = today or datetime.now(UTC).date()
    days = _existing_days(engine)
    if days is None:
        return Expired({}, [*class_rules(retention, today)])
    return Expired(_estimated(engine, expired_days(days, retention, today)), ())


def count(engine: Engine, expired: Expired) -> Counter[str]:
    """Return how much `purge` would delete, by kind.

    Raises:
        DatabaseUnavailable: The database cannot be reached or reports an error.
    """
    total = Counter({DAYS: len(expired.days), DAY_TASKS: sum(expired.days.values())})
    with translate_errors(engine), engine.connect() as connection:
        for rule in expired.rules:
            if rule.kind is not None:
                query = select(func.count()).select_from(rule.deletable.subquery())
                total[rule.kind] += connection.scalars(query).one()
                connection.rollback()  # Releases the locks of a day.
    return +total  # Drops zero counts.


def purge(engine: Engine, expired: Expired) -> Iterator[Counter[str]]:
    """Drop the days, and delete the rows with all data about them.

    Rows that another transaction has locked are skipped. Days are skipped if another
    transaction uses the history for long.

    Yields:
        What each transaction deleted, by kind, and finally the number of days in use.

    Raises:
        DatabaseUnavailable: The database cannot be reached or reports an error.
    """
    with translate_errors(engine):
        left = dict(expired.days)
        for day in drop_days(engine, expired.days):
            yield Counter({DAYS: 1, DAY_TASKS: left.pop(day)})
        for rule in expired.rules:
            for ids in _expired_batches(engine, rule):
                deleted = _delete_batch(engine, rule, ids)
                yield Counter({} if rule.kind is None else {rule.kind: deleted})
        if left:
            yield Counter({DAYS_IN_USE: len(left)})


def drop_expired(engine: Engine, retention: Retention) -> Counter[str]:
    """Delete the tasks of the history that are older than `RETENTION` allows.

    Days that a transaction uses stay until the next call, and are logged.

    Returns:
        The numbers of deleted rows and days, by kind.

    Raises:
        DatabaseUnavailable: The database cannot be reached or reports an error.
    """
    steps = purge(engine, find_beyond_retention(engine, retention))
    total: Counter[str] = sum(steps, Counter())
    if days := total[DAYS_IN_USE]:
        _logger.warning(
            "%d days of the history are older than RETENTION, but a transaction uses "
            "the history; they are dropped later",
            days,
        )
    return total


def delete_rows(
    connection: Connection,
    columns: Iterable[Column[Any]],
    values: Sequence[Any],
    *,
    scope: ColumnElement[bool] = EVERYWHERE,
) -> None:
    """Delete, from the table of each column, the rows that have one of the values.

    Args:
        scope: A condition on the rows of the first table.
    """
    condition = scope
    for column in columns:
        found = column.in_(values)
        if column.table is taskmeta:
            # A trigger keeps ends that are not archived.
            unarchived = taskmeta.c.archived_at.is_(None)
            connection.execute(
                update(taskmeta)
                .where(found, unarchived)
                .values(archived_at=datetime.now(UTC))
            )
            condition = ~unarchived
        elif column.table is history and condition is EVERYWHERE:
            # PostgreSQL locks the tables of all days that a condition does not exclude.
            ends = find_archived(connection, ids=values)
            condition = are_on(each.day for each in ends)
        connection.execute(delete(column.table).where(found, condition))
        condition = EVERYWHERE


def _existing_days(engine: Engine) -> Sequence[Day] | None:
    """Return the days that have a table, or None if the history is one table."""
    if engine.dialect.name == "sqlite":
        return None
    with translate_errors(engine), engine.connect() as connection:
        # Otherwise a monitor that waits for a lock could not be stopped.
        connection.execute(select(func.set_config("lock_timeout", "500ms", True)))
        return [*existing_days(connection)]


def _estimated(engine: Engine, days: Iterable[Day]) -> Mapping[Day, int]:
    oldest_first = sorted(days, key=lambda each: (each.day, each.keep))
    with translate_errors(engine), engine.connect() as connection:
        return estimate_days(connection, oldest_first)


def _expired_batches(engine: Engine, rule: ExpiryRule) -> Iterator[Sequence[Any]]:
    """Yield batches of ids, in the order of the rule.

    Each id is yielded once, so that a row that is not deleted is not read again.
    """
    query = (
        select(*rule.order).where(rule.expired).order_by(*rule.order).limit(BATCH_SIZE)
    )
    types = [column.type for column in rule.order]
    next_batch = query
    while True:
        with engine.connect() as connection:
            rows = connection.execute(next_batch).all()
        if not rows:
            return
        yield [row[-1] for row in rows]
        last = (literal(*each) for each in zip(rows[-1], types, strict=True))
        next_batch = query.where(tuple_(*rule.order) > tuple_(*last))


def _delete_batch(engine: Engine, rule: ExpiryRule, ids: Sequence[Any]) -> int:
    deletable = rule.deletable.where(rule.id.in_(ids))
    with engine.begin() as connection:
        begin_write_transaction(connection)
        # Checks the current rows again. SKIP LOCKED cannot deadlock.
        unlocked = deletable.with_for_update(skip_locked=True)
        found = connection.scalars(unlocked).all()
        if found:
            for column in rule.unlocked:
                _delete_unlocked(connection, column, found)
            delete_rows(connection, rule.columns, found, scope=rule.scope)
    return len(found)


def _delete_unlocked(
    connection: Connection, column: Column[Any], values: Sequence[Any]
) -> None:
    """Delete the rows that have one of the values and are not locked."""
    id = column.table.c.id
    found = select(id).where(column.in_(values)).with_for_update(skip_locked=True)
    if column.table is taskmeta:
        found = found.where(taskmeta.c.archived_at.is_not(None))
    ids = connection.scalars(found).all()
    connection.execute(delete(column.table).where(id.in_(ids)))

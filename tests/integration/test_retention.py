"""Whole days of the history in PostgreSQL are dropped."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, time

import pytest
from sqlalchemy import Engine, NullPool, create_engine, event

from cadasta.workertoolbox.results import Retention
from cadasta.workertoolbox.results._history.days import existing_days
from cadasta.workertoolbox.results._history.purge import (
    DAY_TASKS,
    DAYS,
    drop_expired,
    find_older,
    purge,
)
from support.archived_tasks import archived_ids, days_ago, insert_archived_tasks
from support.statements import fetch

#: A name of a task with all that PostgreSQL might misread.
ODD_NAME = "a'b\"c%s%%d\\e\nf:g {h} ü✓." + "x" * 180


@pytest.fixture
def engine(database: str) -> Iterator[Engine]:
    engine = create_engine(database, poolclass=NullPool)
    yield engine
    engine.dispose()


def older_than(days: int) -> datetime:
    """Return the beginning of a day."""
    return datetime.combine(days_ago(days), time(), UTC)


def deleted(engine: Engine, **options: object) -> Counter[str]:
    return sum(purge(engine, find_older(engine, **options)), Counter())  # type: ignore[arg-type]


def test_expired_days_are_dropped_by_class_without_reading_them(
    database: str, engine: Engine
) -> None:
    for keep, prefix in (("default", "d"), ("FAILURE", "f"), (ODD_NAME, "o")):
        for age in (10, 90, 91, 400):
            name = f"{prefix}{age}-"
            insert_archived_tasks(database, name, 3, age_days=age, keep=keep)
    fetch(database, "ANALYZE")
    reads: list[str] = []

    @event.listens_for(engine, "before_cursor_execute")
    def record(_: object, __: object, statement: str, *___: object) -> None:
        if "FROM workertoolbox_history" in statement or "DELETE" in statement:
            reads.append(statement)

    retention = Retention({"default": "90d", "FAILURE": "365d", ODD_NAME: "7d"})
    total = drop_expired(engine, retention)
    kept = {id[:-2] for id in archived_ids(database)}
    with engine.connect() as connection:
        days = {(day.keep, day.day) for day in existing_days(connection)}

    assert total == {DAYS: 7, DAY_TASKS: 21}
    assert kept == {"d10", "d90", "f10", "f90", "f91"}
    assert (ODD_NAME, days_ago(10)) not in days
    assert ("default", days_ago(91)) not in days
    assert {("default", days_ago(90)), ("FAILURE", days_ago(91))} <= days
    assert reads == []

"""Housekeeping walks through large tables in steps of a limited size."""

from __future__ import annotations

from closing import publish
from sqlalchemy import create_engine

from cadasta.workertoolbox.results._database.lock_use import LockUse
from cadasta.workertoolbox.results._database.tables import task
from cadasta.workertoolbox.results._history.ended_tasks import ArchiveOptions
from cadasta.workertoolbox.results._history.walks import next_step
from cadasta.workertoolbox.results.backend import Backend


def test_a_walk_visits_each_row_once_and_begins_again(backend: Backend) -> None:
    for id in "dbeac":
        publish(backend, id=id)
    options = ArchiveOptions()
    engine = create_engine(backend.database.engine.url)
    with engine.connect() as connection:
        order = [task.c.scheduled_at, task.c.id]
        steps = [next_step(connection, options, order, size=2) for _ in range(4)]
    engine.dispose()
    ids = ["".join(id for _, id in step) for step in steps]

    assert ids == ["ab", "cd", "e", "ab"]


def test_a_lock_table_that_is_too_small_is_described_with_the_value_to_set() -> None:
    year = LockUse(tables=365, locks=365 * 12, transactions=100, capacity=6400)
    quarter = LockUse(tables=97, locks=97 * 12, transactions=100, capacity=6400)

    assert year.is_high
    assert not quarter.is_high
    assert "takes 4,380 of the 6,400 locks" in str(year)
    assert "max_locks_per_transaction to at least 176 " in str(year)

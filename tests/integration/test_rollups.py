"""Rollups and samples of the backlog on PostgreSQL."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Literal

import pytest
from sqlalchemy import Connection, Engine, create_engine, select

from cadasta.workertoolbox.results import TaskStore
from cadasta.workertoolbox.results._database.tables import rollup
from cadasta.workertoolbox.results._history.backlog import sample_backlog
from cadasta.workertoolbox.results._history.rollup import (
    add_contributions,
    delete_old_intervals,
)
from cadasta.workertoolbox.results._history.tally import Contribution
from support.sample_tasks import insert_sample_tasks

NOW = datetime.now(UTC).replace(second=0, microsecond=0)


def random_contributions(seed: int) -> list[Contribution]:
    """Return tasks that ended in the last two days."""
    rng = random.Random(seed)
    return [
        Contribution(
            name=rng.choice(["export.project", "export.site"]),
            queue="export",
            status=rng.choice(["SUCCESS", "FAILURE"]),
            finished_at=NOW - rng.random() * timedelta(days=2),
            waited_s=rng.lognormvariate(0, 3),
            ran_s=rng.lognormvariate(1, 1),
        )
        for _ in range(1000)
    ]


def rows(connection: Connection) -> set[tuple[object, ...]]:
    return {tuple(row) for row in connection.execute(select(rollup))}


def percentile(durations: Sequence[float | None], percent: int) -> float:
    known = sorted(each for each in durations if each is not None)
    return known[math.ceil(percent * len(known) / 100) - 1]


def test_percentiles_of_any_window_are_close_to_the_exact_ones(database: str) -> None:
    engine = create_engine(database)
    contributions = random_contributions(1)
    other = random_contributions(2)
    with engine.begin() as connection:
        add_contributions(connection, contributions)
        before = rows(connection)
        add_contributions(connection, other)
        added = rows(connection)
        add_contributions(connection, other, -1)

        assert len(added) > len(before)
        assert rows(connection) == before
    engine.dispose()
    rng = random.Random(3)
    with TaskStore(database) as store:
        for name in (None, "export.project", "export.site"):
            ends = rng.sample(range(2 * 24 * 60), 2)
            until, since = (NOW - timedelta(minutes=each) for each in sorted(ends))
            figures = store.figures(since=since, until=until, name=name)
            tasks = [
                each
                for each in contributions
                if since <= each.finished_at < until and name in (None, each.name)
            ]
            waits = [each.waited_s for each in tasks]
            runs = [each.ran_s for each in tasks]

            assert figures.count == len(tasks)
            assert figures.waited.p50_s == pytest.approx(percentile(waits, 50), 0.02)
            assert figures.ran.p95_s == pytest.approx(percentile(runs, 95), 0.02)
            assert figures.ran.p99_s == pytest.approx(percentile(runs, 99), 0.02)


def test_concurrent_changes_are_all_counted(database: str) -> None:
    engine = create_engine(database)
    contributions = random_contributions(4)[:200]

    def change(sign: Literal[1, -1]) -> None:
        with engine.begin() as connection:
            add_contributions(connection, contributions, sign)

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(change, [1] * 8))
        added = counted(engine)
        list(threads.map(change, [-1] * 8))
        left = counted(engine)
    engine.dispose()

    assert added == 8 * len(contributions)
    assert left == 0


def counted(engine: Engine) -> int:
    query = select(rollup.c["count"]).where(rollup.c.tier == "day")
    with engine.connect() as connection:
        return sum(connection.scalars(query))


def test_the_backlog_is_sampled_each_minute_and_kept_by_the_hour(database: str) -> None:
    engine = create_engine(database)
    with engine.begin() as connection:
        insert_sample_tasks(connection, 100)
        taken = [
            sample_backlog(connection, NOW + timedelta(seconds=seconds))
            for seconds in (0, 59, 60)
        ]
    with TaskStore(database) as store:
        until = NOW + timedelta(minutes=2)
        hour = timedelta(hours=1)
        total, *_ = store.backlog_samples(since=NOW, until=until, step=hour)
        queued = len(store.list(status="QUEUED", limit=100))
        with engine.begin() as connection:
            delete_old_intervals(connection, NOW + timedelta(days=8))
        by_hour = store.backlog_samples(since=NOW, until=until)
    engine.dispose()

    assert taken == [True, False, True]
    assert total.queue is None
    assert 0 < total.queued == total.queued_max == queued
    assert {each.until - each.since for each in by_hour} == {hour}

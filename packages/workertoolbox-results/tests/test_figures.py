"""Figures about ended tasks in any window, and samples of the backlog."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from contributions import (
    DAY,
    HOUR,
    MIDNIGHT,
    MINUTE,
    exact_percentiles,
    random_contributions,
    select_tasks,
)
from messages import message
from sqlalchemy import Engine, insert

from cadasta.workertoolbox.results import InvalidWindow, TaskFigures, TaskStore
from cadasta.workertoolbox.results._database.engine import database_url, open_engine
from cadasta.workertoolbox.results._database.tables import taskmeta
from cadasta.workertoolbox.results._database.types import FIRST
from cadasta.workertoolbox.results._history.backlog import sample_backlog
from cadasta.workertoolbox.results._history.rollup import (
    add_contributions,
    delete_old_intervals,
)
from cadasta.workertoolbox.results._history.tally import Contribution
from cadasta.workertoolbox.results._history.tiers import KEEP, TIERS
from cadasta.workertoolbox.results._monitor.message import read_task
from cadasta.workertoolbox.results._monitor.upserts import write_batch
from cadasta.workertoolbox.results._store.figures.rollups import (
    read_backlog,
    read_figures,
)
from cadasta.workertoolbox.results._store.rows.windows import cover


@pytest.fixture
def engine(url: str) -> Iterator[Engine]:
    engine = open_engine(database_url(url))
    yield engine
    engine.dispose()


def assert_figures_of(figures: TaskFigures, tasks: Sequence[Contribution]) -> None:
    """Check figures against the tasks and attempts of their window."""
    ended = [each for each in tasks if each.status != "RETRY"]
    for found, durations in (
        (figures.waited, [each.waited_s for each in ended]),
        (figures.ran, [each.ran_s for each in ended]),
        (figures.took, [each.took_s for each in ended]),
    ):
        shown = [found.p50_s, found.p95_s, found.p99_s]

        assert shown == [
            exact and pytest.approx(exact, rel=0.02)
            for exact in exact_percentiles(durations)
        ]
    statuses = Counter(each.status for each in ended)
    assert figures.count == len(ended)
    assert figures.statuses == statuses
    assert figures.failed == statuses["FAILURE"] + statuses["LOST"]
    assert figures.retries == sum(each.retries for each in ended)
    assert figures.redeliveries == sum(each.redeliveries for each in ended)
    assert figures.failed_attempts == len(tasks) - len(ended)


FILTERS: list[dict[str, Any]] = [
    {},
    {"name": "export.site"},
    {"queue": "msg", "status": "FAILURE"},
    {"status": "RETRY"},
    {"name": "export.project", "error_group": "disk"},
]


def test_the_figures_of_any_window_are_those_of_its_tasks(engine: Engine) -> None:
    tasks = random_contributions(2000, days=4)
    with engine.begin() as connection:
        add_contributions(connection, tasks)
        rng = random.Random(6)
        for number in range(30):
            ends = rng.sample(range(-4 * 24 * 60, 0), 2)
            since, until = (MIDNIGHT + each * MINUTE for each in sorted(ends))
            filters = FILTERS[number % len(FILTERS)]
            figures = read_figures(connection, since=since, until=until, **filters)

            assert (figures.since, figures.until) == (since, until)
            assert_figures_of(figures, select_tasks(tasks, since, until, **filters))


@pytest.mark.parametrize("step", [15 * MINUTE, HOUR, 12 * HOUR, DAY])
def test_a_series_has_the_figures_of_each_step(engine: Engine, step: timedelta) -> None:
    tasks = random_contributions(500, days=2)
    since, until = MIDNIGHT - 30 * HOUR, MIDNIGHT - 7 * MINUTE
    with engine.begin() as connection:
        add_contributions(connection, tasks)
        figures = read_figures(connection, since=since, until=until, step=step)
    series = figures.series

    assert figures.until == MIDNIGHT
    assert [each.since for each in series[1:]] == [each.until for each in series[:-1]]
    assert (series[0].since, series[-1].until) == (figures.since, figures.until)
    for each in [figures, *series]:
        assert_figures_of(each, select_tasks(tasks, each.since, each.until))


@pytest.mark.parametrize("step", [None, 15 * MINUTE])
def test_a_window_whose_minutes_were_deleted_is_extended(
    engine: Engine, step: timedelta | None
) -> None:
    tasks = random_contributions(500, days=4)
    since = MIDNIGHT - 3 * DAY + 90 * MINUTE
    with engine.begin() as connection:
        add_contributions(connection, tasks)
        delete_old_intervals(connection, MIDNIGHT - 2 * DAY + KEEP["minute"])
        figures = read_figures(connection, since=since, until=MIDNIGHT, step=step)
        hours = {"minute": MINUTE, "hour": HOUR, "day": 9 * DAY}
        delete_old_intervals(connection, datetime.now(UTC), keep=hours)
        days = read_figures(connection, since=since, until=MIDNIGHT, step=step)

    assert figures.since == since - 30 * MINUTE
    assert days.since == MIDNIGHT - 3 * DAY
    for each in (figures, days, *figures.series, *days.series):
        assert_figures_of(each, select_tasks(tasks, each.since, each.until))


def test_the_own_tasks_of_celery_may_be_left_out(store: TaskStore) -> None:
    names = ("celery.chord_unlock", "export.site")
    tasks = [
        Contribution(name, "celery", "SUCCESS", MIDNIGHT - MINUTE) for name in names
    ]
    with store.engine.begin() as connection:
        add_contributions(connection, tasks)
    window: dict[str, Any] = {"since": MIDNIGHT - HOUR, "until": MIDNIGHT}

    assert store.figures(**window).count == 2
    assert store.figures(**window, internal=False).count == 1


def test_figures_of_an_empty_history_are_zero(engine: Engine) -> None:
    with engine.connect() as connection:
        figures = read_figures(connection, since=MIDNIGHT, until=MIDNIGHT + HOUR)

    assert_figures_of(figures, [])


def test_a_window_is_covered_by_the_longest_intervals() -> None:
    complete = dict.fromkeys(TIERS, FIRST)
    since, until = MIDNIGHT - 90 * MINUTE, MIDNIGHT + 2 * DAY + 61 * MINUTE

    assert cover(since, until, complete) == [
        ("minute", since, since + 30 * MINUTE),
        ("hour", since + 30 * MINUTE, MIDNIGHT),
        ("day", MIDNIGHT, MIDNIGHT + 2 * DAY),
        ("hour", MIDNIGHT + 2 * DAY, MIDNIGHT + 2 * DAY + HOUR),
        ("minute", MIDNIGHT + 2 * DAY + HOUR, until),
    ]


def test_a_window_is_extended_only_where_minutes_were_deleted() -> None:
    complete = {"minute": MIDNIGHT, "hour": FIRST, "day": FIRST}
    before, after = MIDNIGHT - 10 * MINUTE, MIDNIGHT + 10 * MINUTE
    hour = ("hour", MIDNIGHT - HOUR, MIDNIGHT)

    assert cover(before - MINUTE, before, complete) == [hour]
    assert cover(before, after, complete) == [hour, ("minute", MIDNIGHT, after)]
    assert cover(after, after + MINUTE, complete) == [("minute", after, after + MINUTE)]


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"until": MIDNIGHT}, "must be before"),
        ({"step": timedelta(seconds=90)}, "whole number of minutes, got 0:01:30"),
        ({"step": timedelta(0)}, "whole number of minutes"),
        ({"until": MIDNIGHT + 20 * DAY, "step": MINUTE}, "28800 steps of 0:01:00"),
    ],
)
def test_an_invalid_window_is_refused(
    engine: Engine, values: dict[str, Any], reason: str
) -> None:
    window = {"since": MIDNIGHT, "until": MIDNIGHT + HOUR, **values}
    with engine.connect() as connection, pytest.raises(InvalidWindow, match=reason):
        read_figures(connection, **window)


def store_messages(engine: Engine, *queues: str, at: datetime, **headers: Any) -> None:
    """Store a message for each queue, as a monitor does."""
    records = []
    for queue in queues:
        id = f"{queue}-{random.random()}"
        headers["workertoolbox_published_at"] = at.isoformat()
        sent = message(id=id, routing_key=queue, **headers)
        records.append(read_task(sent, seen_at=at))
    with engine.begin() as connection:
        write_batch(connection, records)


def sample(engine: Engine, at: datetime) -> bool:
    with engine.begin() as connection:
        return sample_backlog(connection, at)


def samples(engine: Engine, step: timedelta, **values: Any) -> list[tuple[Any, ...]]:
    """Return the samples of a day, without the ends of their intervals."""
    values |= {"since": MIDNIGHT, "until": MIDNIGHT + DAY}
    with engine.connect() as connection:
        found = read_backlog(connection, step=step, **values)
    return [
        (
            *((each.since - MIDNIGHT) // MINUTE, each.queue),
            *(each.queued, each.queued_max, each.scheduled, each.scheduled_max),
            each.oldest_s,
        )
        for each in found
    ]


def test_the_backlog_is_sampled_once_a_minute(engine: Engine) -> None:
    store_messages(engine, "export", "msg", "msg", at=MIDNIGHT)
    eta = (MIDNIGHT + HOUR).isoformat()
    store_messages(engine, "export", at=MIDNIGHT, eta=eta)
    first = sample(engine, MIDNIGHT + timedelta(seconds=61))
    store_messages(engine, "msg", at=MIDNIGHT)
    again = sample(engine, MIDNIGHT + timedelta(seconds=119))

    assert (first, again) == (True, False)
    assert samples(engine, MINUTE) == [
        (1, None, 3, 3, 1, 1, 61),
        (1, "export", 1, 1, 1, 1, 61),
        (1, "msg", 2, 2, 0, 0, 61),
    ]


def test_a_longer_interval_has_the_mean_and_the_maximum(engine: Engine) -> None:
    sample(engine, MIDNIGHT)
    store_messages(engine, "export", "export", at=MIDNIGHT)
    sample(engine, MIDNIGHT + MINUTE)
    store_messages(engine, "msg", at=MIDNIGHT)
    with engine.begin() as connection:
        ids = [
            row[0]
            for row in connection.exec_driver_sql(
                "SELECT id FROM workertoolbox_task WHERE queue = 'export'"
            )
        ]
        rows = [{"task_id": id, "status": "STARTED"} for id in ids]
        connection.execute(insert(taskmeta), rows)
    sample(engine, MIDNIGHT + 2 * MINUTE)
    sample(engine, MIDNIGHT + 3 * MINUTE)

    assert (
        samples(engine, HOUR)
        == samples(engine, DAY)
        == [
            (0, None, 1, 2, 0, 0, 180),
            (0, "export", 0.5, 2, 0, 0, 60),
            (0, "msg", 0.5, 1, 0, 0, 180),
        ]
    )
    assert samples(engine, 2 * MINUTE, queue="msg") == [(2, "msg", 1, 1, 0, 0, 180)]

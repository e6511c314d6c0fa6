"""Statistics by name and queue, compared with the window before."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from archiving import archive
from celery import states
from contributions import (
    DAY,
    HOUR,
    MIDNIGHT,
    MINUTE,
    exact_percentiles,
    random_contributions,
    select_tasks,
)
from sqlalchemy import insert
from stored_tasks import publish, store_state

from cadasta.workertoolbox.results import (
    InvalidGrouping,
    InvalidWindow,
    Stats,
    StatsRow,
    TaskStore,
)
from cadasta.workertoolbox.results._database.tables import taskmeta
from cadasta.workertoolbox.results._history.rollup import add_contributions
from cadasta.workertoolbox.results._history.tally import Contribution
from cadasta.workertoolbox.results.backend import Backend


def add(store: TaskStore, tasks: Sequence[Contribution]) -> None:
    with store.engine.begin() as connection:
        add_contributions(connection, tasks)


def ended(name: str, at: datetime, **values: Any) -> Contribution:
    given: dict[str, Any] = {"queue": "export", "status": "SUCCESS", **values}
    return Contribution(name=name, finished_at=at, **given)


def assert_stats_of(
    stats: Stats, tasks: Sequence[Contribution], window: timedelta
) -> None:
    """Check statistics against the tasks and attempts of their window."""
    counted = [each for each in tasks if each.status != "RETRY"]
    failures = sum(each.status == "FAILURE" for each in counted)
    percentiles = [
        *(stats.waited.p50_s, stats.waited.p95_s, stats.waited.p99_s),
        *(stats.ran.p50_s, stats.ran.p95_s, stats.ran.p99_s),
        *(stats.took.p50_s, stats.took.p95_s, stats.took.p99_s),
    ]

    assert stats.count == len(counted)
    assert stats.statuses == Counter(each.status for each in counted)
    assert stats.per_second == len(counted) / window.total_seconds()
    assert stats.failed == failures
    assert stats.failure_rate == (failures / len(counted) if counted else None)
    assert stats.retries == sum(each.retries for each in counted)
    assert stats.failed_attempts == len(tasks) - len(counted)
    assert percentiles == [
        exact and pytest.approx(exact, rel=0.02)
        for durations in (
            [each.waited_s for each in counted],
            [each.ran_s for each in counted],
            [each.took_s for each in counted],
        )
        for exact in exact_percentiles(durations)
    ]


@pytest.mark.parametrize("by", ["name", "queue"])
@pytest.mark.parametrize("filters", [{}, {"status": "FAILURE"}, {"queue": "msg"}])
def test_statistics_are_those_of_the_tasks_in_both_windows(
    store: TaskStore, by: Any, filters: dict[str, Any]
) -> None:
    tasks = random_contributions(3000, days=4)
    add(store, tasks)
    since, until = MIDNIGHT - 31 * HOUR, MIDNIGHT - 47 * MINUTE
    window = until - since
    table = store.stats(since=since, until=until, by=by, **filters)
    parts: list[tuple[StatsRow, dict[str, Any]]] = [
        (table.total, {}),
        *((row, {by: row.value}) for row in table.rows),
    ]

    assert (table.since, table.until, table.rest) == (since, until, None)
    assert len(table.rows) == (1 if by in filters else 2)
    for row, values in parts:
        of_row = {**filters, **values}
        now = select_tasks(tasks, since, until, **of_row)
        assert_stats_of(row.now, now, window)
        assert row.before is not None
        assert_stats_of(
            row.before, select_tasks(tasks, since - window, since, **of_row), window
        )


def test_names_beyond_the_limit_are_added_up(store: TaskStore) -> None:
    names = ["a"] * 3 + ["b"] * 4 + ["c"] + ["d"] * 2 + ["celery.chord_unlock"] * 9
    add(store, [ended(name, MIDNIGHT, ran_s=len(name)) for name in names])
    window: dict[str, Any] = {"since": MIDNIGHT, "until": MIDNIGHT + MINUTE}
    table = store.stats(**window, by="name", limit=2)
    with_internal = store.stats(**window, by="name", limit=1, internal=True)

    assert [(row.value, row.now.count) for row in table.rows] == [("b", 4), ("a", 3)]
    assert table.rest is not None
    assert (table.rest.now.count, table.rest_size) == (3, 2)
    assert table.total.now.count == 10
    assert with_internal.rows[0].value == "celery.chord_unlock"
    assert store.stats(**window).total == table.total


def test_names_whose_tasks_ended_only_before_may_be_included(store: TaskStore) -> None:
    add(store, [ended("gone", MIDNIGHT - MINUTE), ended("new", MIDNIGHT)])
    add(store, [ended("gone", MIDNIGHT - DAY)])
    window: dict[str, Any] = {"since": MIDNIGHT, "until": MIDNIGHT + HOUR, "by": "name"}

    def counts(**given: Any) -> list[tuple[str | None, int, int]]:
        rows = store.stats(**window, **given).rows
        return [
            (row.value, row.now.count, row.before.count) for row in rows if row.before
        ]

    assert counts() == [("new", 1, 0)]
    assert counts(gone=True) == [("new", 1, 0), ("gone", 0, 1)]


def test_a_window_before_the_first_task_is_not_compared(store: TaskStore) -> None:
    add(store, [ended("a", MIDNIGHT - HOUR), ended("a", MIDNIGHT + HOUR)])

    def before(since: datetime) -> Stats | None:
        return store.stats(since=since, until=MIDNIGHT + 2 * HOUR).total.before

    assert before(MIDNIGHT) is None
    assert before(MIDNIGHT + HOUR / 2 - MINUTE) is None
    compared = before(MIDNIGHT + HOUR / 2)
    assert compared is not None
    assert compared.count == 1


def test_without_an_end_the_window_ends_where_tasks_are_not_archived(
    store: TaskStore,
) -> None:
    now = datetime.now(UTC).replace(second=30, microsecond=0) - MINUTE
    add(store, [ended("a", now - 10 * MINUTE)])
    idle = store.stats(since=now - HOUR)
    with store.engine.begin() as connection:
        for id, at in (("old", now - 30 * MINUTE), ("late", now - 5 * MINUTE)):
            done = {"date_done": at.replace(tzinfo=None), "status": states.SUCCESS}
            connection.execute(insert(taskmeta).values(task_id=id, **done))
    # The archiver has left out a task, and has archived later ones.
    refused = store.stats(since=now - HOUR)
    short = store.stats(since=now - timedelta(seconds=20))

    assert datetime.now(UTC) - idle.until < MINUTE
    assert refused.until == (now - 10 * MINUTE).replace(second=0)
    assert store.completeness().archived_until == refused.until
    assert refused.total.now.count == 0
    assert short.until - short.since in (MINUTE, 2 * MINUTE)


@pytest.mark.parametrize(
    ("length", "unit"),
    [(6 * HOUR, MINUTE), (DAY, HOUR), (20 * DAY, DAY)],
    ids=["6 h", "1 d", "20 d"],
)
def test_a_coarse_window_begins_with_a_whole_minute_hour_or_day(
    store: TaskStore, length: timedelta, unit: timedelta
) -> None:
    now = datetime.now(UTC)
    tasks = [ended("a", now - n * HOUR / 2) for n in range(1, 48 * 22)]
    add(store, tasks)
    found = store.stats(since=now - length, coarse=True)
    exact = store.stats(since=found.since, until=found.until)

    assert (found.since - MIDNIGHT) % unit == timedelta(0)
    assert timedelta(0) <= now - length - found.since < unit
    assert now - MINUTE < found.until <= now + MINUTE
    assert found.total.now == exact.total.now
    count = sum(each.finished_at >= found.since for each in tasks)
    assert found.total.now.count == count


def test_statistics_of_an_empty_history_are_zero(store: TaskStore) -> None:
    table = store.stats(since=MIDNIGHT - DAY, until=MIDNIGHT, by="name")

    assert table.rows == []
    assert table.total.before is None
    assert_stats_of(table.total.now, [], DAY)


def test_a_window_that_ends_before_it_begins_is_refused(store: TaskStore) -> None:
    with pytest.raises(InvalidWindow):
        store.stats(since=MIDNIGHT, until=MIDNIGHT - HOUR)


def test_a_task_takes_from_its_first_publication_to_its_end(
    store: TaskStore, backend: Backend, now: datetime
) -> None:
    published = now - HOUR
    publish(store, "export", "1", at=published)
    publish(store, "export", "1", at=now - MINUTE, retries=1)
    publish(store, "export", "2", at=now - 2 * HOUR)
    store_state(store, "1", states.SUCCESS, at=now, published_at=now - MINUTE)
    store_state(store, "2", states.REVOKED, at=now)
    archive(backend)
    stats = store.stats(since=now - MINUTE, until=now + MINUTE).total.now

    assert stats.statuses == {"SUCCESS": 1, "REVOKED": 1}
    assert stats.took.p50_s == stats.took.p99_s == pytest.approx(3600, rel=0.02)


@pytest.mark.parametrize("by", ["worker", "error_group", "tier", "unknown"])
def test_statistics_by_another_column_are_refused(store: TaskStore, by: Any) -> None:
    with pytest.raises(InvalidGrouping, match=f"not by '{by}'"):
        store.stats(since=datetime.now(UTC) - HOUR, by=by)

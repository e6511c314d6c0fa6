"""Statistics, backlog, workers and services, compared with the tasks themselves."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import Engine, insert, select

from cadasta.workertoolbox.results import TaskStore
from cadasta.workertoolbox.results._database.statuses import ENDED
from cadasta.workertoolbox.results._database.tables import history
from cadasta.workertoolbox.results._database.view import tasks
from cadasta.workertoolbox.results._history.archiver import archive_batch
from cadasta.workertoolbox.results._history.ended_tasks import ArchiveOptions
from support.recent_tasks import MINUTE, NAMES, random_rows


@pytest.fixture
def now() -> datetime:
    return datetime.now(UTC)


@pytest.fixture
def cutoff(engine: Engine, now: datetime) -> datetime:
    """Store tasks, archive those that ended before an instant, and return it."""
    cutoff = (now - 6 * MINUTE).replace(second=0, microsecond=0)
    with engine.begin() as connection:
        for table, some in random_rows(now, 400).items():
            connection.execute(insert(table), some)
        # The archiver reads the clock a little later.
        delay_s = (datetime.now(UTC) - cutoff).total_seconds() + 5
        archive_batch(connection, ArchiveOptions(delay_s=delay_s))
    return cutoff


@pytest.fixture
def shown(engine: Engine, cutoff: datetime) -> Sequence[Any]:
    """All rows of the view."""
    with engine.connect() as connection:
        return connection.execute(select(tasks)).all()


@pytest.fixture
def ended(engine: Engine, cutoff: datetime) -> Sequence[Any]:
    """The rows of the history."""
    with engine.connect() as connection:
        return connection.execute(select(history)).all()


def is_internal(row: Any) -> bool:
    return str(row.name).startswith("celery.")


def percentile(durations: Iterator[timedelta], percent: int) -> Any:
    known = sorted(each.total_seconds() for each in durations)
    rank = math.ceil(percent * len(known) / 100) - 1
    return pytest.approx(known[rank], rel=0.02) if known else None


def test_the_total_is_the_same_without_a_grouping(
    database_store: TaskStore, ended: Sequence[Any], cutoff: datetime
) -> None:
    middle = cutoff - 5 * MINUTE
    total = database_store.stats(since=middle, until=cutoff)
    grouped = database_store.stats(since=middle, until=cutoff, by="name")

    assert total.total == grouped.total
    assert total.total.now.count > 20
    assert not total.rows


@pytest.mark.parametrize("by", ["name", "queue"])
def test_statistics_are_those_of_the_archived_tasks(
    database_store: TaskStore, ended: Sequence[Any], cutoff: datetime, by: Any
) -> None:
    middle = cutoff - 5 * MINUTE
    table = database_store.stats(since=middle, until=cutoff, by=by)
    groups = defaultdict(list)
    for row in ended:
        if not is_internal(row):
            groups[getattr(row, by), row.finished_at >= middle].append(row)

    assert table.total.now.count > 20
    assert [row.value for row in table.rows] == sorted(
        {value for value, _ in groups},
        key=lambda value: (-len(groups[value, True]), value),
    )
    for row in table.rows:
        now = groups[row.value, True]
        took = (
            each.finished_at - each.scheduled_at
            for each in now
            if each.status in ("SUCCESS", "FAILURE") and each.tracked
        )
        ran = (each.finished_at - each.started_at for each in now)

        assert row.now.statuses == Counter(each.status for each in now)
        assert row.now.per_second == len(now) / 300
        assert row.now.took.p95_s == percentile(took, 95)
        assert row.now.ran.p50_s == percentile(ran, 50)
        if row.before is not None:
            since = middle - 5 * MINUTE
            before = groups[row.value, False]
            counted = [each for each in before if each.finished_at >= since]
            assert row.before.count == len(counted)


def test_the_backlog_is_that_of_the_tasks_that_have_not_ended(
    database_store: TaskStore, shown: Sequence[Any], ended: Sequence[Any]
) -> None:
    counts = Counter((row.queue, row.status) for row in shown)
    found = {each.queue: each for each in database_store.backlog()}

    assert found.keys() == {"export", "msg"}
    for queue, each in found.items():
        waiting = [row for row in shown if (row.queue, row.status) == (queue, "QUEUED")]
        since = min(max(filter(None, (row.scheduled_at, row.eta))) for row in waiting)
        run = {row.worker for row in shown if row.queue == queue} - {None}
        speed = [row for row in ended if row.queue == queue and row.status != "RETRY"]

        assert each.queued == counts[queue, "QUEUED"] == len(waiting)
        assert each.scheduled == counts[queue, "SCHEDULED"]
        assert each.running == counts[queue, "STARTED"]
        assert each.retrying == counts[queue, "RETRY"]
        assert each.oldest_s == (each.counted_at - since).total_seconds()
        assert {*each.consumers} <= run
        assert len(each.consumers) == 3
        assert 0 < each.per_second <= len(speed) / 600


def failures(rows: Sequence[Any]) -> int:
    return sum(row.status == "FAILURE" for row in rows)


def test_workers_are_those_that_started_and_ended_tasks(
    database_store: TaskStore, shown: Sequence[Any]
) -> None:
    of_worker = defaultdict(list)
    for row in shown:
        if row.status in ("STARTED", *ENDED):
            of_worker[row.worker].append(row)
    # The last ten minutes begin between these instants.
    first = datetime.now(UTC) - 10 * MINUTE
    found = {each.name: each for each in database_store.workers()}
    last = datetime.now(UTC) - 10 * MINUTE

    assert found.keys() == of_worker.keys() - {None}
    for name, each in found.items():
        rows = of_worker[name]
        running = {row.id for row in rows if row.status == "STARTED"}
        ended = [row for row in rows if row.finished_at]
        most = [row for row in ended if row.finished_at >= first]
        fewest = [row for row in ended if row.finished_at > last]
        seen = [row.finished_at or row.started_at for row in rows]

        assert {one.id for one in each.running} == running
        assert len(fewest) <= each.ended <= len(most)
        assert failures(fewest) <= each.failed <= failures(most)
        assert each.seen_at == max(seen)


def test_services_names_and_queues_are_those_of_the_tasks(
    database_store: TaskStore, shown: Sequence[Any], ended: Sequence[Any]
) -> None:
    live = [row for row in shown if row.tracked]
    routes = {
        (row.origin.partition("@")[2], row.name, row.queue)
        for row in live
        if not is_internal(row)
    }
    found = database_store.services()
    tracked = [each for each in found if each.sender is not None]

    assert {(each.sender, each.name, each.queue) for each in tracked} == routes
    assert sum(bool(each.workers) for each in found) > len(found) / 2
    assert database_store.names() == sorted({*NAMES})
    assert database_store.queues() == ["export", "msg"]


def test_untracked_tasks_are_those_of_the_view(
    database_store: TaskStore, shown: Sequence[Any], now: datetime
) -> None:
    expected = {row.id for row in shown if not row.tracked}
    found = database_store.untracked(since=now - 60 * MINUTE, limit=1000)

    assert {each.id for each in found} == expected
    assert len(expected) > 10


def test_groups_of_errors_are_found_by_name_with_their_errors_by_the_hour(
    database_store: TaskStore, ended: Sequence[Any], now: datetime
) -> None:
    failures = Counter(row.name for row in ended if row.status == "FAILURE")
    for name, number in failures.items():
        [group] = database_store.error_groups(name=name, since=now - 60 * MINUTE)

        assert (group.id, group.count, sum(group.recent)) == (
            *(f"1:{name}", number, number),
        )


def test_unusual_tasks_have_run_longer_than_those_of_their_name(
    database_store: TaskStore, shown: Sequence[Any], ended: Sequence[Any]
) -> None:
    found = database_store.stuck_by_p99(limit=1000, internal=True)
    running = [each for each in found if each.task.status == "STARTED"]
    longest = {
        name: max(
            each.finished_at - each.started_at for each in ended if each.name == name
        ).total_seconds()
        for name in NAMES
    }

    assert {each.task.id for each in running} == {
        row.id for row in shown if row.status == "STARTED"
    }
    for each in running:
        assert each.p99_s is not None
        assert each.p99_s <= longest[each.task.name or ""] * 1.02
        assert each.for_s > each.p99_s


def test_figure_queries_run_in_a_read_only_transaction(
    database: str, now: datetime
) -> None:
    url = f"{database}?options=-c%20default_transaction_read_only%3Don"
    with TaskStore(url) as store:
        since = now - 60 * MINUTE

        assert store.stats(since=since, by="name").rows == []
        assert (store.backlog(), store.workers(), store.services()) == ([], [], [])
        assert (store.names(), store.queues()) == ([], [])
        assert (store.untracked(since=since), store.stuck_by_p99()) == ([], [])
        assert store.error_groups(name="a", since=since) == []

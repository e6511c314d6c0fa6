"""The archiver waits for messages that monitors have not read yet."""

from __future__ import annotations

import os
import socket
from datetime import UTC, datetime, timedelta

import pytest
from archiving import archive, check_rollups
from celery import states
from closing import publish, run, shown, store_state
from sqlalchemy import create_engine, select, text

from cadasta.workertoolbox.results._database.tables import history, monitor
from cadasta.workertoolbox.results._headers import PUBLISHED_AT
from cadasta.workertoolbox.results._history.horizon import (
    MARGIN,
    MAX_WAIT,
    RUNNING_FOR,
    delete_old_reports,
    find_horizon,
    report_progress,
)
from cadasta.workertoolbox.results._history.monitor_ids import find_process
from cadasta.workertoolbox.results._history.tidying import tidy
from cadasta.workertoolbox.results._monitor.progress import QUIET_WAITS, Progress
from cadasta.workertoolbox.results.backend import Backend

HOUR = timedelta(hours=1)
SECOND = timedelta(seconds=1)
NO_TIME = timedelta()


def report(
    backend: Backend,
    id: str,
    read_until: timedelta | None,
    reported: timedelta = NO_TIME,
) -> None:
    """Store a report of a monitor; the times are relative to now."""
    now = datetime.now(UTC)
    with backend.database.engine.begin() as connection:
        report_progress(
            connection,
            id,
            read_until=None if read_until is None else now + read_until,
            now=now + reported,
        )


def archived(backend: Backend) -> dict[str, bool]:
    """Return whether each archived task is tracked, by its id."""
    with backend.database.engine.connect() as connection:
        rows = connection.execute(select(history.c.id, history.c.tracked))
        return {row.id: row.tracked for row in rows}


def test_tasks_are_archived_once_after_a_pause_of_all_monitors(
    backend: Backend,
) -> None:
    with backend.database.engine.begin() as connection:
        connection.exec_driver_sql("CREATE TABLE written (id TEXT)")
        connection.exec_driver_sql(
            "CREATE TRIGGER count_written AFTER INSERT ON workertoolbox_history"
            " BEGIN INSERT INTO written VALUES (new.id); END"
        )
    ids = [f"{number:02}" for number in range(20)]
    for id in ids:
        store_state(backend, id, states.SUCCESS, 42)
    report(backend, "a", -HOUR)
    archive(backend)
    for start in (0, 10):
        for id in ids[start : start + 10]:
            publish(backend, id=id)
        archive(backend)
    with backend.database.engine.connect() as connection:
        written = connection.exec_driver_sql("SELECT id FROM written ORDER BY id")

        assert [row.id for row in written] == ids
    assert archived(backend) == dict.fromkeys(ids, True)


def test_tasks_of_a_broker_whose_monitors_pause_alone_are_counted_once(
    backend: Backend,
) -> None:
    report(backend, "of the first broker", -HOUR, -HOUR)
    report(backend, "of the second broker", HOUR)
    engine = create_engine(backend.database.engine.url)
    for id in ("first", "second"):
        store_state(backend, id, states.SUCCESS, 42)
    publish(backend, id="second")
    archive(backend)
    before = archived(backend)
    check_rollups(engine)
    publish(backend, id="first")  # The monitors of the first broker go on.
    archive(backend)
    check_rollups(engine)
    with engine.connect() as connection:
        query = text("SELECT id FROM workertoolbox_tasks ORDER BY id")
        ids = connection.scalars(query).all()
    engine.dispose()

    assert before == {"first": False, "second": True}
    assert archived(backend) == {"first": True, "second": True}
    assert ids == ["first", "second"]


def test_a_report_with_a_wrong_time_does_not_keep_results_waiting(
    backend: Backend,
) -> None:
    report(backend, "of a wrong clock", None, 2 * MAX_WAIT)
    report(backend, "running", HOUR)
    store_state(backend, "1", states.SUCCESS, 42)

    assert archive(backend) == 1
    run(backend, tidy, datetime.now(UTC))
    with backend.database.engine.connect() as connection:
        assert connection.scalars(select(monitor.c.id)).all() == ["running"]


@pytest.mark.parametrize(
    ("reports", "is_archived"),
    [
        ({}, True),
        ({"a": (HOUR, NO_TIME)}, True),
        ({"a": (None, NO_TIME)}, False),
        ({"a": (-HOUR, NO_TIME)}, False),
        ({"a": (HOUR, NO_TIME), "behind": (-HOUR, NO_TIME)}, False),
        ({"a": (HOUR, NO_TIME), "behind": (-HOUR, -HOUR)}, True),
        ({"paused": (-HOUR, -HOUR)}, False),
        ({"paused": (HOUR, -HOUR), "behind": (None, -HOUR)}, True),
        ({"removed": (-HOUR, -MAX_WAIT - HOUR)}, True),
    ],
)
def test_a_result_without_a_message_waits_for_the_monitors_that_may_have_it(
    backend: Backend,
    reports: dict[str, tuple[timedelta | None, timedelta]],
    is_archived: bool,
) -> None:
    for id, (read_until, reported) in reports.items():
        report(backend, id, read_until, reported)
    store_state(backend, "1", states.SUCCESS, 42)
    archive(backend)

    assert archived(backend) == ({"1": False} if is_archived else {})
    assert shown(backend)["1"]["status"] == "SUCCESS"


def test_results_with_their_message_do_not_wait(backend: Backend) -> None:
    report(backend, "a", -HOUR)
    publish(backend, id="1")
    store_state(backend, "1", states.SUCCESS, 42)

    assert archive(backend) == 1


def test_a_retried_task_waits_for_the_message_of_its_last_attempt(
    backend: Backend,
) -> None:
    report(backend, "a", -HOUR)
    now = datetime.now(UTC)
    times = [(now + timedelta(minutes=each)).isoformat() for each in range(2)]
    publish(backend, id="1", **{PUBLISHED_AT: times[0]})
    store_state(backend, "1", states.SUCCESS, 1, retries=1, **{PUBLISHED_AT: times[1]})
    early = archive(backend)
    publish(backend, id="1", retries=1, **{PUBLISHED_AT: times[1]})

    assert (early, archive(backend)) == (0, 1)


def test_reports_of_removed_monitors_are_deleted(backend: Backend) -> None:
    report(backend, "a", None, -MAX_WAIT - HOUR)
    report(backend, "b", None)
    run(backend, tidy, datetime.now(UTC))
    with backend.database.engine.connect() as connection:
        assert connection.scalars(select(monitor.c.id)).all() == ["b"]


@pytest.mark.parametrize(
    ("reports", "read_until"),
    [
        # Just running, just stopped, and just removed; the last with a clock ahead.
        ({"a": (NO_TIME, RUNNING_FOR), "b": (HOUR, NO_TIME)}, NO_TIME),
        ({"a": (NO_TIME, RUNNING_FOR + SECOND), "b": (HOUR, NO_TIME)}, HOUR),
        ({"a": (HOUR, MAX_WAIT)}, HOUR),
        ({"a": (HOUR, MAX_WAIT + SECOND)}, None),
        ({"a": (HOUR, -MAX_WAIT)}, HOUR),
        # What is not known has no margin, and nothing waits for more than a day.
        ({"a": (None, NO_TIME)}, MARGIN - MAX_WAIT),
        ({"a": (None, HOUR)}, MARGIN - MAX_WAIT),
    ],
)
def test_ends_are_archived_up_to_the_horizon(
    backend: Backend,
    now: datetime,
    reports: dict[str, tuple[timedelta | None, timedelta]],
    read_until: timedelta | None,
) -> None:
    with backend.database.engine.begin() as connection:
        for id, (ahead, age) in reports.items():
            read = None if ahead is None else now + ahead
            report_progress(connection, id, read_until=read, now=now - age)
        horizon = find_horizon(connection, now)

    assert horizon == (None if read_until is None else now + read_until - MARGIN)


def test_reports_are_kept_for_a_day(backend: Backend, now: datetime) -> None:
    ages = {"old": MAX_WAIT + SECOND, "kept": MAX_WAIT}
    ages |= {f"{id} ahead": -age for id, age in ages.items()}
    with backend.database.engine.begin() as connection:
        for id, age in ages.items():
            report_progress(connection, id, read_until=None, now=now - age)
        delete_old_reports(connection, now)
        ids = connection.scalars(select(monitor.c.id).order_by(monitor.c.id)).all()

    assert ids == ["kept", "kept ahead"]


def test_a_monitor_has_read_as_far_as_its_newest_message(backend: Backend) -> None:
    progress = Progress()
    now = datetime.now(UTC)
    for age in (2 * HOUR, HOUR, 2 * HOUR):
        progress.add(now - age)
    progress.report(backend.database.engine)
    with backend.database.engine.connect() as connection:
        row = connection.execute(select(monitor)).one()

    assert row.read_until == now - HOUR
    assert find_process(row.id) == (socket.gethostname(), os.getpid())


@pytest.mark.parametrize(
    ("id", "process"),
    [
        ("1@a-b.example-5f0c", ("a-b.example", 1)),
        *((id, None) for id in ("5f0c", "5f0c@a-5f0c", "1@5f0c", "1@-5f0c", "²@a-5f")),
    ],
)
def test_a_random_monitor_id_names_no_process(
    id: str, process: tuple[str, int] | None
) -> None:
    assert find_process(id) == process


@pytest.mark.parametrize(("waits", "is_known"), [(2, False), (QUIET_WAITS, True)])
def test_a_monitor_of_an_empty_queue_has_read_everything(
    backend: Backend, waits: int, is_known: bool
) -> None:
    progress = Progress()
    progress.add_quiet_wait()
    progress.restart()
    before = datetime.now(UTC)
    for _ in range(waits):
        progress.add_quiet_wait()
    progress.report(backend.database.engine)
    with backend.database.engine.connect() as connection:
        read_until = connection.scalar(select(monitor.c.read_until))

    assert (read_until is not None) == is_known
    assert read_until is None or before <= read_until <= datetime.now(UTC)

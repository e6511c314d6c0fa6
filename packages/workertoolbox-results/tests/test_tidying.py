"""Housekeeping of the archiver: what archived tasks leave behind is deleted."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any

import pytest
from archiving import archive
from celery import states
from closing import run
from sqlalchemy import Column, insert, select, update
from stored_tasks import MINUTE, publish, store_ended, store_state

from cadasta.workertoolbox.results import TaskStore
from cadasta.workertoolbox.results._database.tables import (
    backlog,
    day_value,
    history,
    planned,
    retention,
    rollup,
    task,
    taskmeta,
)
from cadasta.workertoolbox.results._history import tidying
from cadasta.workertoolbox.results._history.ended_tasks import ArchiveOptions
from cadasta.workertoolbox.results._history.faulty_rows import FaultyRows
from cadasta.workertoolbox.results._history.retention import Retention
from cadasta.workertoolbox.results._history.tidying import (
    FORGOTTEN_FOR,
    analyze,
    delete_intervals,
    note_retention,
    sample,
    tidy,
)
from cadasta.workertoolbox.results.backend import Backend

SECOND = timedelta(seconds=1)
DAY = timedelta(days=1)


def ids(store: TaskStore, column: Column[Any]) -> set[Any]:
    with store.engine.connect() as connection:
        return {*connection.scalars(select(column))}


def plan(store: TaskStore, *ids: str, seen_at: datetime) -> None:
    """Store steps that a message has announced."""
    rows = [{"id": id, "name": "export.map", "seen_at": seen_at} for id in ids]
    with store.engine.begin() as connection:
        connection.execute(insert(planned), rows)


def forget(store: TaskStore, archived: Iterable[tuple[str, datetime | None]]) -> None:
    """Store forgotten results, with the times at which they were archived."""
    for id, archived_at in archived:
        store_state(store, id, states.SUCCESS, forgotten=True, archived_at=archived_at)


def test_a_forgotten_result_is_deleted_an_hour_after_it_was_archived(
    store: TaskStore, backend: Backend, now: datetime
) -> None:
    before = now - FORGOTTEN_FOR
    forget(store, [("old", before - SECOND), ("new", before), ("live", None)])
    store_state(store, "kept", states.SUCCESS, archived_at=before - DAY)
    run(backend, tidy, now)

    assert ids(store, taskmeta.c.task_id) == {"new", "live", "kept"}


def test_one_run_deletes_a_limited_number_of_forgotten_results(
    store: TaskStore,
    backend: Backend,
    now: datetime,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(tidying, "BATCH_SIZE", 2)
    forget(store, [(id, now - DAY) for id in "123"])
    run(backend, tidy, now)

    assert len(ids(store, taskmeta.c.task_id)) == 1


def test_a_step_is_no_longer_planned_once_it_is_known(
    store: TaskStore, backend: Backend, now: datetime
) -> None:
    publish(store, "export", "published")
    store_state(store, "started", "STARTED")
    store_ended(store, "ended")
    publish(store, "export", "other")
    steps = ("published", "started", "ended", "to come", "next")
    plan(store, *steps, seen_at=now - DAY)
    run(backend, tidy, now)

    assert ids(store, planned.c.id) == {"to come", "next"}


def test_each_run_looks_at_the_next_planned_steps(
    store: TaskStore,
    backend: Backend,
    now: datetime,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(tidying, "STEP_SIZE", 2)
    # The ids are in another order than the announcements.
    for number, id in enumerate("edcba"):
        plan(store, id, seen_at=now + number * SECOND)
    store_ended(store, *"abcde")
    options: dict[str, Any] = {"positions": {}}
    left = []
    for _ in range(4):
        run(backend, tidy, now, **options)
        left.append("".join(sorted(ids(store, planned.c.id))))

    assert left == ["abc", "a", "", ""]


def test_nothing_is_deleted_of_a_database_without_planned_steps(
    store: TaskStore, backend: Backend, now: datetime
) -> None:
    publish(store, "export", "1")
    store_ended(store, "2")
    run(backend, tidy, now)

    assert (ids(store, task.c.id), ids(store, history.c.id)) == ({"1"}, {"2"})


def test_the_end_of_a_late_message_is_archived_again(
    store: TaskStore, backend: Backend, now: datetime
) -> None:
    publish(store, "export", "late", "open", at=now - MINUTE)
    store_state(store, "late", states.SUCCESS, worker="a@host")
    store_state(store, "alone", states.SUCCESS, archived_at=now)
    with store.engine.begin() as connection:
        # As if the message was committed while its end was archived.
        late = taskmeta.c.task_id == "late"
        connection.execute(update(taskmeta).where(late).values(archived_at=now))
    before = archive(backend)
    run(backend, tidy, now)
    with store.engine.connect() as connection:
        query = select(taskmeta.c.task_id).where(taskmeta.c.archived_at.is_(None))
        again = connection.scalars(query).all()

    assert (before, again) == (0, ["late"])
    assert archive(backend) == 1
    assert ids(store, task.c.id) == {"open"}


def test_each_run_looks_at_the_next_messages(
    store: TaskStore,
    backend: Backend,
    now: datetime,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(tidying, "STEP_SIZE", 2)
    publish(store, "export", *"abc")
    for id in "abc":
        store_state(store, id, states.SUCCESS)
    with store.engine.begin() as connection:
        connection.execute(update(taskmeta).values(archived_at=now))
    options: dict[str, Any] = {"positions": {}}
    counts = []
    for _ in range(2):
        run(backend, tidy, now, **options)
        counts.append(archive(backend))

    assert counts == [2, 1]


def test_values_of_days_before_the_history_are_deleted(
    store: TaskStore, backend: Backend, now: datetime
) -> None:
    today = now.date()
    with store.engine.begin() as connection:
        rows = [
            {"kind": "name", "value": "old", "day": today - age * DAY}
            for age in range(4)
        ]
        connection.execute(insert(day_value), rows)
    run(backend, tidy, now)
    of_an_empty_history = ids(store, day_value.c.day)
    store_ended(store, "1", at=now - 2 * DAY)
    store_ended(store, "2", at=now)
    run(backend, tidy, now)

    assert len(of_an_empty_history) == 4
    assert ids(store, day_value.c.day) == {today - age * DAY for age in range(3)}


def test_the_retention_is_noted_as_it_is_applied(
    store: TaskStore, backend: Backend, now: datetime
) -> None:
    first = Retention({"FAILURE": "90d", "export.map": "7d", "default": "30d"})
    run(backend, note_retention, now - DAY, retention=first)
    second = Retention({"FAILURE": "60d", "export.mail": None})
    run(backend, note_retention, now, retention=second)
    with store.engine.connect() as connection:
        rows = connection.execute(select(retention).order_by(retention.c.keep)).all()

    assert [*map(tuple, rows)] == [
        ("FAILURE", 60, now),
        ("default", None, now),
        ("export.mail", None, now),
    ]


def test_the_retention_of_the_default_is_noted(
    store: TaskStore, backend: Backend, now: datetime
) -> None:
    run(backend, note_retention, now, retention=Retention({"default": "30d"}))
    with store.engine.connect() as connection:
        assert connection.execute(select(retention)).all() == [("default", 30, now)]


def test_a_faulty_row_of_the_backlog_is_logged_by_one_sample(
    store: TaskStore,
    backend: Backend,
    now: datetime,
    caplog: pytest.LogCaptureFixture,
) -> None:
    with store.engine.begin() as connection:
        connection.exec_driver_sql(
            "CREATE TRIGGER t BEFORE INSERT ON workertoolbox_backlog"
            " WHEN new.tier = 'day' AND new.queue = 'export'"
            " BEGIN SELECT RAISE(ABORT, 'broken'); END"
        )
    publish(store, "export", "1", at=now)
    faulty = FaultyRows()
    for minutes in range(2):
        run(backend, sample, now + minutes * MINUTE, faulty=faulty)

    assert ids(store, backlog.c.queue) == {"", "export"}
    assert caplog.text.count("is left out") == 1


def test_old_intervals_of_the_figures_are_deleted(
    store: TaskStore, backend: Backend, now: datetime
) -> None:
    store_ended(store, "1", at=now - 4000 * DAY)
    store_ended(store, "2", at=now)
    run(backend, delete_intervals, now)
    with store.engine.connect() as connection:
        minutes = select(rollup.c.at).where(rollup.c.tier == "minute")

        assert connection.scalars(minutes).all() == [now.replace(second=0)]


def test_sqlite_needs_no_statistics(store: TaskStore, now: datetime) -> None:
    with store.engine.connect() as connection:
        analyze(connection, now, ArchiveOptions())

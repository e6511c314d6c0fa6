"""Which ended tasks the archiver takes, and what it knows of them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from celery import Celery
from messages import message
from sqlalchemy import insert

from cadasta.workertoolbox.results import InvalidLimit, TaskStore
from cadasta.workertoolbox.results._database.tables import taskmeta
from cadasta.workertoolbox.results._errors import InvalidDuration
from cadasta.workertoolbox.results._history.ended_tasks import (
    DELAY_S,
    LOST_AFTER_S,
    MAX_RESULT_BYTES,
    ArchiveOptions,
    EndedTask,
    archive_options,
    find_ended,
    lock_next,
)
from cadasta.workertoolbox.results._history.horizon import report_progress
from cadasta.workertoolbox.results._monitor.message import read_task
from cadasta.workertoolbox.results._monitor.upserts import write_batch

NOON = datetime(2026, 11, 28, 12, tzinfo=UTC)


def at(minute: float) -> datetime:
    return NOON + timedelta(minutes=minute)


def publish(store: TaskStore, id: str, minute: float | None, **values: Any) -> None:
    """Store a message that was published some minutes after noon."""
    read = read_task(message(id=id), seen_at=at(0))
    published = None if minute is None else at(minute)
    times = {"published_at": published, "scheduled_at": published or at(0)}
    with store.engine.begin() as connection:
        write_batch(connection, [read._replace(**{**times, **values})])


def end(store: TaskStore, id: str | None, minute: float | None, **values: Any) -> None:
    """Store the end of a task some minutes after noon."""
    done = None if minute is None else at(minute).replace(tzinfo=None)
    row = {"task_id": id, "status": "SUCCESS", "date_done": done, **values}
    with store.engine.begin() as connection:
        connection.execute(insert(taskmeta).values(row))


def find(store: TaskStore, now: datetime = NOON, **options: Any) -> list[EndedTask]:
    """Return what the archiver takes, which begins with what it locks alone."""
    with store.engine.begin() as connection:
        found = [*find_ended(connection, ArchiveOptions(**options), now)]
        first = lock_next(connection, ArchiveOptions(**options), now)
    assert first == (found[0].id if found else None)
    return found


def ids(store: TaskStore, now: datetime = NOON, **options: Any) -> str:
    return "".join(each.id for each in find(store, now, **options))


def test_a_task_without_a_message_has_what_its_result_says(store: TaskStore) -> None:
    end(store, "1", -5, name="export.project", published_at=at(-7))

    assert find(store) == [
        EndedTask(
            id="1",
            status="SUCCESS",
            name="export.project",
            ended_at=at(-5),
            since=at(-7),
            has_message=False,
            is_queued_again=False,
        )
    ]


@pytest.mark.parametrize(
    ("published", "scheduled", "since"),
    [(-7, -8, -8), (-9, -8, -9), (None, -8, -8)],
)
def test_a_task_has_what_its_message_says(
    store: TaskStore, published: float | None, scheduled: float, since: float
) -> None:
    publish(store, "1", -8, scheduled_at=at(scheduled), name="export.long")
    published_at = None if published is None else at(published)
    end(store, "1", -5, status="FAILURE", name="export", published_at=published_at)

    assert find(store) == [
        EndedTask(
            id="1",
            status="FAILURE",
            name="export.long",
            ended_at=at(-5),
            since=at(since),
            has_message=True,
            is_queued_again=False,
        )
    ]


def test_a_result_of_which_little_is_known_is_taken(store: TaskStore) -> None:
    end(store, "1", None)
    publish(store, "2", -8, name="")
    end(store, "2", -5, name="export")
    second, first = find(store)

    assert (first.name, first.ended_at, first.since) == (None, None, None)
    assert second.name == "export"


def test_a_message_that_was_published_after_the_end_queues_the_task_again(
    store: TaskStore,
) -> None:
    for id in "12":
        run: dict[str, Any] = {"published_at": at(-8), "retries": 0}
        end(store, id, -5, started_at=at(-6), worker="a@host", **run)
    publish(store, "1", -8)
    publish(store, "2", -4)

    assert [(each.id, each.is_queued_again) for each in find(store)] == [
        *(("1", False), ("2", True))
    ]


def test_only_tasks_that_have_ended_and_are_not_archived_are_taken(
    store: TaskStore,
) -> None:
    statuses = ["SUCCESS", "FAILURE", "REVOKED", "IGNORED", "REJECTED", "LOST"]
    for number, status in enumerate(statuses):
        end(store, str(number), -5, status=status)
    for status in ("STARTED", "RETRY", "PROGRESS"):
        end(store, status, -6, status=status)
    end(store, "a", -7, archived_at=at(-4))
    end(store, None, -5)

    assert sorted(ids(store)) == [*"012345"]


@pytest.mark.parametrize("delay_s", [60.0, 600.0])
def test_tasks_are_taken_a_while_after_their_end_and_the_oldest_first(
    store: TaskStore, delay_s: float
) -> None:
    minutes = delay_s / 60
    for id, minute in (("0", None), ("1", 0.1), ("2", 0), ("3", -0.1), ("4", -9)):
        end(store, id, None if minute is None else minute - minutes)

    assert ids(store, delay_s=delay_s) == "430"
    assert ids(store, delay_s=delay_s, left_out=frozenset("43")) == "0"
    assert ids(store, delay_s=delay_s, left_out=frozenset("40")) == "3"


def test_an_end_in_the_future_is_taken_at_once(store: TaskStore) -> None:
    report(store, at(-7))
    for id, minute in (("1", 4), ("2", 6), ("3", 525_600)):
        end(store, id, minute)

    assert ids(store) == "23"


def test_a_batch_has_the_oldest_tasks(store: TaskStore) -> None:
    for id, minute in (("0", None), ("1", -5), ("2", -7), ("3", -6)):
        end(store, id, minute)

    assert ids(store, batch_size=2) == "23"
    assert ids(store, batch_size=3) == "231"
    assert ids(store, batch_size=4) == "2310"


def report(store: TaskStore, read_until: datetime | None) -> None:
    with store.engine.begin() as connection:
        report_progress(connection, "m", read_until=read_until, now=NOON)


def test_a_result_waits_until_its_message_would_have_been_read(
    store: TaskStore,
) -> None:
    for id, minute in (("1", -9), ("2", -5), ("3", None)):
        end(store, id, minute)
    everything = ids(store)
    report(store, at(-7))
    some = ids(store)
    report(store, at(-4))

    assert (everything, some, ids(store)) == ("123", "13", "123")


@pytest.mark.parametrize(
    ("message_of", "result", "is_taken"),
    [
        ({}, {"published_at": at(-8)}, True),
        ({"minute": -7.9}, {"published_at": at(-8)}, True),
        ({"minute": -8.1}, {"published_at": at(-8)}, False),
        ({"minute": -8.1, "retries": 1}, {"published_at": at(-8)}, False),
        ({"minute": None, "retries": 1}, {"published_at": at(-8), "retries": 1}, True),
        ({"minute": None, "retries": 2}, {"published_at": at(-8), "retries": 1}, True),
        ({"minute": None}, {"published_at": at(-8), "retries": 1}, False),
        ({}, {"retries": 0}, True),
        ({}, {"retries": 1}, False),
        ({}, {}, True),
        (None, {}, False),
        (None, {"not_run": "not run: a[1] failed"}, True),
        (None, {"published_at": at(-8), "retries": 0}, False),
    ],
)
def test_a_result_does_not_wait_if_its_message_is_stored(
    store: TaskStore,
    message_of: dict[str, Any] | None,
    result: dict[str, Any],
    is_taken: bool,
) -> None:
    report(store, at(-7))
    end(store, "1", -5, **result)
    if message_of is not None:
        publish(store, "1", **{"minute": -8, **message_of})

    assert ids(store) == ("1" if is_taken else "")


def test_the_options_are_settings(app: Celery) -> None:
    defaults = archive_options(app)
    app.conf.update(
        ARCHIVE_AFTER="90s", LOST_AFTER="1h", MAX_HISTORY_RESULT_BYTES=70_000
    )
    app.conf.RETENTION = {"FAILURE": "90d"}
    given = archive_options(app)

    assert (defaults.delay_s, defaults.lost_after_s) == (DELAY_S, LOST_AFTER_S)
    assert defaults.max_result_bytes == MAX_RESULT_BYTES
    assert (given.delay_s, given.lost_after_s) == (90.0, 3600.0)
    assert given.max_result_bytes == 70_000
    assert defaults.retention.keeps == frozenset()
    assert given.retention.keeps == frozenset({"FAILURE"})


@pytest.mark.parametrize("name", ["ARCHIVE_AFTER", "LOST_AFTER"])
@pytest.mark.parametrize("value", ["soon", [1], -1])
def test_an_option_that_is_not_a_duration_is_named(
    app: Celery, name: str, value: Any
) -> None:
    app.conf[name] = value

    with pytest.raises(InvalidDuration) as raised:
        archive_options(app)
    assert raised.value.args == (name, value)


def test_a_limit_of_results_that_is_not_a_number_is_named(app: Celery) -> None:
    app.conf.MAX_HISTORY_RESULT_BYTES = 0

    with pytest.raises(InvalidLimit, match="MAX_HISTORY_RESULT_BYTES"):
        archive_options(app)

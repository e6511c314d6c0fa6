"""Which of two messages of a task its row keeps, and which times."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from messages import message
from sqlalchemy import insert, select

from cadasta.workertoolbox.results import TaskStore
from cadasta.workertoolbox.results._database.tables import NAME_LENGTH, task, taskmeta
from cadasta.workertoolbox.results._monitor.message import read_task
from cadasta.workertoolbox.results._monitor.records import TaskRecord
from cadasta.workertoolbox.results._monitor.upserts import write_batch

Row = dict[str, Any]

NOON = datetime(2026, 11, 28, 12, tzinfo=UTC)

#: Columns that say when a task was published and seen.
TIMES = ("scheduled_at", "seen_at")


def at(minute: float) -> datetime:
    return NOON + timedelta(minutes=minute)


def record(minute: float, **values: Any) -> TaskRecord:
    """Return a message that is published some minutes after noon, and then seen."""
    read = read_task(message(), seen_at=at(minute + 0.5))
    published: Row = {"published_at": at(minute), "scheduled_at": at(minute)}
    return read._replace(**{**published, **values})


def other(minute: float, **values: Any) -> TaskRecord:
    """Return another message of the task, all columns of which have other values."""
    return record(
        minute,
        **{
            **{"name": "export.other", "queue": "msg", "args": [2], "kwargs": {"c": 2}},
            **{"root_id": "2", "parent_id": "3", "group_id": "4", "origin": "b@host"},
            **{"eta": at(60), "expires": at(90), "ignore_result": True},
            **{"time_limit_s": 5.0, "service": "shop", "schedule": "nightly"},
            **{"headers": {"user": 1}, "rerun_of": "5", "arguments": "cut"},
            **{"options": {"priority": 1}, "digest": "d", "results_elsewhere": "redis"},
            **values,
        },
    )


def row(given: TaskRecord, **values: Any) -> Row:
    """Return the row of a message, with other values in some columns."""
    return {name: getattr(given, name) for name in task.c.keys()} | values


def stored(store: TaskStore, *records: TaskRecord) -> Row:
    """Store messages one after the other, and return the row."""
    for each in records:
        with store.engine.begin() as connection:
            write_batch(connection, [each])
    with store.engine.connect() as connection:
        query = select(task).where(task.c.id == "1")
        return dict(connection.execute(query).mappings().one())


def store_result(store: TaskStore, minute: float, **values: Any) -> None:
    """Store the state of a run whose message was published at noon."""
    done: Row = {"task_id": "1", "date_done": at(minute).replace(tzinfo=None)}
    run: Row = {"status": "SUCCESS", "retries": 0, "published_at": at(0)}
    with store.engine.begin() as connection:
        connection.execute(insert(taskmeta).values({**done, **run, **values}))


@pytest.mark.parametrize(
    "later", [{"retries": 1}, {"replaced": 1}, {"replaced": 1, "retries": 0}]
)
def test_a_later_attempt_replaces_all_but_the_first_publication(
    store: TaskStore, later: Row
) -> None:
    first = record(0, retries=0)
    second = other(1, **later)
    found = stored(store, first, second)

    assert found == row(second, scheduled_at=at(0), seen_at=at(0.5))


def test_a_task_that_replaces_itself_begins_with_its_first_attempt(
    store: TaskStore,
) -> None:
    first, second = record(0, retries=3), other(1, replaced=1, retries=0)
    found = stored(store, first, second)

    assert found == row(second, scheduled_at=at(0), seen_at=at(0.5))
    assert stored(store, record(2, retries=4)) == found


@pytest.mark.parametrize(
    "earlier", [{"retries": 0}, {"replaced": 0, "retries": 2}, {"retries": 0}]
)
@pytest.mark.parametrize("minute", [-1, 0, 1])
def test_an_earlier_attempt_that_arrives_later_gives_its_publication(
    store: TaskStore, earlier: Row, minute: int
) -> None:
    last = record(0, replaced=1, retries=1)
    found = stored(store, last, other(minute, **{"replaced": 1, **earlier}))

    assert found == row(last, scheduled_at=min(at(0), at(minute)))


def test_a_later_attempt_with_an_earlier_time_gives_its_publication(
    store: TaskStore,
) -> None:
    first, second = record(0), other(-1, retries=1)

    assert stored(store, first, second) == row(second, seen_at=at(0.5))


def test_an_attempt_that_is_published_again_is_shown_with_its_new_times(
    store: TaskStore,
) -> None:
    first, second = record(0), other(1)

    assert stored(store, first, second) == row(second)
    assert stored(store, first) == row(second)
    assert stored(store, other(1, name="export.third")) == row(second)


@pytest.mark.parametrize("minute", [-1, 0, 1])
def test_a_copy_that_does_not_say_when_it_was_published_may_be_earlier(
    store: TaskStore, minute: int
) -> None:
    first = record(0)
    copy = other(minute, published_at=None)

    assert stored(store, first, copy) == row(first, scheduled_at=min(at(0), at(minute)))


@pytest.mark.parametrize("later", [{"retries": 1}, {"replaced": 1}])
def test_an_attempt_is_not_replaced_by_one_that_was_published_with_it(
    store: TaskStore, later: Row
) -> None:
    first = record(0)

    assert stored(store, first, other(0, **later)) == row(first)


@pytest.mark.parametrize("unknown", [0, 1])
def test_a_later_attempt_may_not_say_when_it_was_published(
    store: TaskStore, unknown: int
) -> None:
    given = [record(0), other(1, retries=1)]
    given[unknown] = given[unknown]._replace(published_at=None)

    assert stored(store, *given) == row(given[1], scheduled_at=at(0), seen_at=at(0.5))


#: Columns of a later message that is published at minute 1.
AGAIN: Row = {"retries": 1}


@pytest.mark.parametrize(
    "result",
    [
        {"status": "STARTED"},
        {"status": "RETRY"},
        {"task_id": "2"},
        {"retries": 1, "published_at": at(1)},
        {"retries": 1, "published_at": None},
        {"retries": 1, "published_at": at(1), "name": "export.other", "root_id": "2"},
    ],
)
def test_the_message_of_a_task_is_replaced_by_the_one_that_was_run(
    store: TaskStore, result: Row
) -> None:
    store_result(store, 5, **result)
    first, second = record(0), other(1, **AGAIN)

    assert stored(store, first, second) == row(
        second, scheduled_at=at(0), seen_at=at(0.5)
    )


@pytest.mark.parametrize(
    "result",
    [
        *({"status": status} for status in ("FAILURE", "REVOKED", "IGNORED", "LOST")),
        {"retries": 0, "published_at": at(1)},
        {"retries": None, "published_at": at(1)},
        {"retries": 1, "published_at": at(0.9)},
        {"retries": 1, "published_at": at(1), "name": "export.project"},
        {"retries": 1, "published_at": at(1), "root_id": "1"},
    ],
)
def test_the_message_of_an_ended_task_is_not_replaced_by_one_that_was_not_run(
    store: TaskStore, result: Row
) -> None:
    store_result(store, 5, worker="a@host", started_at=at(0), **result)
    first = record(0)

    assert stored(store, first, other(1, **AGAIN)) == row(first)


def test_a_later_attempt_with_an_earlier_time_was_not_run_either(
    store: TaskStore,
) -> None:
    store_result(store, 5)
    first = record(0)

    assert stored(store, first, other(-1, retries=1)) == row(first)


@pytest.mark.parametrize("minute", [3, 5])
def test_a_message_that_was_published_before_the_end_queues_nothing_again(
    store: TaskStore, minute: float
) -> None:
    store_result(store, 5)
    first = record(0)

    assert stored(store, first, record(minute, args=[2])) == row(first)


def test_a_message_without_a_root_is_not_that_of_a_run_with_a_root(
    store: TaskStore,
) -> None:
    store_result(store, 5, retries=1, published_at=at(1), root_id="1")
    first = record(0)

    assert stored(store, first, other(1, root_id=None, retries=1)) == row(first)


def test_a_message_and_a_run_without_a_root_belong_together(store: TaskStore) -> None:
    store_result(store, 5, retries=1, published_at=at(1))
    first, second = record(0), other(1, root_id=None, retries=1)

    assert stored(store, first, second)["name"] == "export.other"


@pytest.mark.parametrize(("cut", "is_kept"), [(0, False), (1, True)])
def test_a_run_has_the_beginning_of_a_long_name(
    store: TaskStore, cut: int, is_kept: bool
) -> None:
    name = "n" * (NAME_LENGTH + 5)
    result_name = name[: NAME_LENGTH - cut]
    store_result(store, 5, retries=1, published_at=at(1), name=result_name)
    found = stored(store, record(0), other(1, name=name, retries=1))

    assert (found["name"] == "export.project") == is_kept


def test_a_message_that_was_published_after_the_end_keeps_the_times_of_the_run(
    store: TaskStore,
) -> None:
    store_result(store, 5)
    first, again = record(0), record(6, args=[2], service="shop")
    found = stored(store, first, again)

    assert found == row(again, scheduled_at=at(0), seen_at=at(0.5))
    assert stored(store, first) == found


@pytest.mark.parametrize("name", ["name", "queue", "root_id", "parent_id", "group_id"])
def test_the_end_of_a_task_is_found_as_before_until_it_is_archived(
    store: TaskStore, name: str
) -> None:
    store_result(store, 5)
    first = record(0)

    assert stored(store, first, record(6, **{name: "other"})) == row(first)


def test_a_run_that_is_published_again_is_shown_with_its_new_times(
    store: TaskStore,
) -> None:
    store_result(store, 5, published_at=at(1))
    first, second = record(0), other(1)

    assert stored(store, first, second) == row(second)


def test_an_earlier_attempt_gives_its_publication_to_an_ended_task(
    store: TaskStore,
) -> None:
    store_result(store, 5, retries=1, published_at=at(1))
    last = record(1, retries=1)

    assert stored(store, last, other(0)) == row(last, scheduled_at=at(0))

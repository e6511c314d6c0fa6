"""Tasks that move out of the history again, because a message or a state came late."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from messages import message
from sqlalchemy import Table, insert, select

from cadasta.workertoolbox.results import TaskStore
from cadasta.workertoolbox.results._database.tables import (
    attempt,
    error_group,
    history,
    rollup,
    task,
    taskmeta,
)
from cadasta.workertoolbox.results._history import reopening
from cadasta.workertoolbox.results._history.attempt_records import ended_attempts
from cadasta.workertoolbox.results._history.clocks import MAX_LEAD
from cadasta.workertoolbox.results._history.contributions import (
    contribution_columns,
    contributions_of,
)
from cadasta.workertoolbox.results._history.ended_tasks import EndedTask
from cadasta.workertoolbox.results._history.error_groups import (
    occurrences,
    record_errors,
)
from cadasta.workertoolbox.results._history.faulty_rows import FaultyRows
from cadasta.workertoolbox.results._history.reopening import queue_again, reopen
from cadasta.workertoolbox.results._history.rollup import add_contributions
from cadasta.workertoolbox.results._monitor.message import read_task
from cadasta.workertoolbox.results._monitor.upserts import write_batch

Row = dict[str, Any]

NOON = datetime(2026, 11, 28, 12, tzinfo=UTC)

#: The columns of a message that the history keeps.
MESSAGE = [column.name for column in task.c if column.name in history.c]


def at(minute: float) -> datetime:
    return NOON + timedelta(minutes=minute)


def archived(minute: float = 0, **values: Any) -> Row:
    """Return a row of the history: a run that was published at a minute."""
    read = read_task(message(), seen_at=at(minute + 0.5))._asdict()
    return {
        **{name: read[name] for name in MESSAGE},
        **{"published_at": at(minute), "scheduled_at": at(minute)},
        **{"keep": "default", "day": NOON.date(), "status": "SUCCESS"},
        **{"started_at": at(minute + 1), "finished_at": at(minute + 2)},
        **{"listed_at": at(minute), "worker": "a@host", "tracked": True},
        **{"forgotten": False, "attempts": None, "messages": None, "not_run": None},
        **{"result": None, "traceback": None, "error_group": None, **values},
    }


def store_archived(store: TaskStore, *rows: Row) -> None:
    """Store rows in the history, in the figures and in the groups of errors."""
    with store.engine.begin() as connection:
        for row in rows:
            connection.execute(insert(history).values(row))
            record_errors(connection, occurrences(row), faulty=FaultyRows())
        columns = contribution_columns(connection.dialect.name)
        stored = connection.execute(select(*columns)).all()
        add_contributions(connection, contributions_of(stored))


def store_result(store: TaskStore, **values: Any) -> None:
    """Store a run that began ten minutes after noon."""
    done = at(12).replace(tzinfo=None)
    row = {"task_id": "1", "status": "SUCCESS", "date_done": done, **values}
    with store.engine.begin() as connection:
        connection.execute(insert(taskmeta).values({"started_at": at(10), **row}))


def ended(id: str = "1", since: datetime | None = NOON) -> EndedTask:
    return EndedTask(id, "SUCCESS", "export.project", at(12), since, False, False)


def reopened(store: TaskStore, *found: EndedTask) -> frozenset[str]:
    with store.engine.begin() as connection:
        return reopen(connection, found or [ended()], FaultyRows())


def rows_of(store: TaskStore, table: Table) -> list[Row]:
    with store.engine.connect() as connection:
        return [dict(row) for row in connection.execute(select(table)).mappings()]


def attempts_of(store: TaskStore) -> Any:
    [result] = rows_of(store, taskmeta)
    return result["attempts"]


def test_a_task_that_is_not_in_the_history_is_not_reopened(store: TaskStore) -> None:
    store_archived(store, archived(id="2"))
    store_result(store)

    assert reopened(store) == frozenset()
    assert [row["id"] for row in rows_of(store, history)] == ["2"]
    assert attempts_of(store) is None


def test_a_reopened_task_has_its_message_its_attempt_and_no_figures(
    store: TaskStore,
) -> None:
    row = archived()
    store_archived(store, row)
    store_result(store, worker="b@host")

    assert reopened(store) == {"1"}
    assert rows_of(store, history) == rows_of(store, rollup) == []
    assert rows_of(store, task) == [
        {**dict.fromkeys(task.c.keys()), **{name: row[name] for name in MESSAGE}}
    ]
    names = ("replaced", "retries", "name", "queue", "scheduled_at", "eta", "seen_at")
    assert rows_of(store, attempt) == [
        {"task_id": "1", **{name: row[name] for name in names}}
    ]
    assert attempts_of(store) == [*ended_attempts(row)]


def test_other_tasks_and_their_figures_stay_in_the_history(store: TaskStore) -> None:
    store_archived(store, archived(), archived(id="2"))
    store_result(store)
    reopened(store)

    assert [row["id"] for row in rows_of(store, history)] == ["2"]
    assert {row["count"] for row in rows_of(store, rollup)} == {1}


@pytest.mark.parametrize(
    ("values", "is_run"),
    [
        ({}, True),
        ({"status": "REVOKED"}, True),
        ({"status": "REVOKED", "worker": None}, True),
        ({"status": "REVOKED", "started_at": None}, True),
        ({"status": "REVOKED", "started_at": None, "worker": None}, False),
        ({"status": "FAILURE", "started_at": None, "worker": None}, True),
        ({"not_run": "not run: a[1] failed"}, False),
    ],
)
def test_an_end_that_was_not_a_run_is_not_an_attempt(
    store: TaskStore, values: Row, is_run: bool
) -> None:
    first: Row = {"started_at": at(-5).isoformat(), "outcome": "RETRY"}
    first |= {"finished_at": at(-4).isoformat(), "queue": "export", "error": None}
    row = archived(attempts=[first], **values)
    store_archived(store, row)
    store_result(store)
    reopened(store)

    assert attempts_of(store) == ([*ended_attempts(row)] if is_run else [first])


@pytest.mark.parametrize(
    "result",
    [
        {"started_at": at(1)},
        {"started_at": None, "date_done": at(1).replace(tzinfo=None)},
    ],
)
def test_a_later_state_of_the_archived_run_is_not_another_attempt(
    store: TaskStore, result: Row
) -> None:
    store_archived(store, archived())
    store_result(store, **result)

    assert reopened(store) == {"1"}
    assert attempts_of(store) is None


def test_attempts_of_the_result_follow_those_of_the_history(store: TaskStore) -> None:
    row = archived()
    store_archived(store, row)
    second = {"started_at": at(5).isoformat(), "outcome": "LOST", "finished_at": None}
    store_result(store, attempts=[second])
    reopened(store)

    assert attempts_of(store) == [*ended_attempts(row), second]


def test_all_ends_of_a_task_become_attempts_in_their_order(store: TaskStore) -> None:
    first = archived(-3000, day=date(2026, 11, 26), args=[1])
    second = archived(args=[2])
    store_archived(store, first, second)
    store_result(store)

    assert reopened(store) == {"1"}
    assert rows_of(store, history) == []
    assert attempts_of(store) == [*ended_attempts(first), *ended_attempts(second)]
    [kept] = rows_of(store, task)
    assert kept["args"] == [2]


def test_a_task_whose_message_was_not_seen_has_no_message(store: TaskStore) -> None:
    store_archived(store, archived(scheduled_at=None))
    store_result(store)

    assert reopened(store) == {"1"}
    assert rows_of(store, task) == rows_of(store, attempt) == []


def stored_message(minute: float, **values: Any) -> Row:
    """Return a message as the history keeps those of a task with several."""
    return {
        **{"replaced": 0, "retries": 0, "name": "export.project", "queue": "export"},
        **{"scheduled_at": at(minute).isoformat(), "eta": None},
        **{"seen_at": at(minute + 0.5).isoformat(), **values},
    }


def test_all_messages_of_a_task_are_restored(store: TaskStore) -> None:
    first = stored_message(-5, eta=at(-4).isoformat())
    second = stored_message(0, retries=1)
    row = archived(retries=1, messages=[second, first], args=[2])
    store_archived(store, row)
    store_result(store)
    reopened(store)

    assert rows_of(store, task) == [
        {**dict.fromkeys(task.c.keys()), **{name: row[name] for name in MESSAGE}}
    ]
    instants = ("scheduled_at", "eta", "seen_at")
    assert sorted(rows_of(store, attempt), key=lambda each: each["retries"]) == [
        {
            **{"task_id": "1", **each},
            **{
                name: each[name] and datetime.fromisoformat(each[name])
                for name in instants
            },
        }
        for each in (first, second)
    ]


@pytest.mark.parametrize("last", [{"retries": 1}, {"replaced": 1, "retries": 3}])
def test_the_last_message_is_not_always_that_of_the_run(
    store: TaskStore, last: Row
) -> None:
    of_run = stored_message(0, retries=2 if "replaced" in last else 0)
    later = stored_message(
        *(5,), name="export.other", queue="msg", eta=at(9).isoformat(), **last
    )
    row = archived(retries=of_run["retries"], messages=[later, of_run])
    store_archived(store, row)
    store_result(store)
    reopened(store)
    [kept] = rows_of(store, task)

    expected = {**row, **later, "eta": at(9), "published_at": None}
    expected |= {"scheduled_at": row["scheduled_at"], "seen_at": row["seen_at"]}
    assert {name: kept[name] for name in MESSAGE} == {
        name: expected[name] for name in MESSAGE
    }


@pytest.mark.parametrize(
    ("minute", "values", "is_kept"),
    [
        (5, {"retries": 0}, False),
        (5, {"retries": 1}, True),
        (5, {"retries": 2}, True),
        (5, {"replaced": 1}, True),
        (-5, {"retries": 0}, False),
        (-5, {"retries": 2}, True),
    ],
)
def test_a_message_that_has_arrived_since_stays_if_it_is_not_of_an_earlier_attempt(
    store: TaskStore, minute: float, values: Row, is_kept: bool
) -> None:
    row = archived(retries=1, args=[1])
    store_archived(store, row)
    store_result(store)
    new = read_task(message(), seen_at=at(minute + 0.5))
    new = new._replace(
        published_at=at(minute), scheduled_at=at(minute), args=[2], **values
    )
    with store.engine.begin() as connection:
        write_batch(connection, [new])
    reopened(store)
    [kept] = rows_of(store, task)

    assert kept["args"] == ([2] if is_kept else [1])
    assert kept["retries"] == (new.retries if is_kept else 1)
    assert kept["replaced"] == (new.replaced if is_kept else 0)
    assert kept["scheduled_at"] == at(min(0, minute))
    assert kept["seen_at"] == at(min(0, minute) + 0.5)


def test_a_late_message_of_a_task_that_has_replaced_itself_is_not_kept(
    store: TaskStore,
) -> None:
    store_archived(store, archived(replaced=1, args=[1]))
    store_result(store)
    with store.engine.begin() as connection:
        late = read_task(message(), seen_at=at(5))._replace(retries=3, args=[2])
        write_batch(connection, [late])
    reopened(store)
    [kept] = rows_of(store, task)

    assert (kept["args"], kept["replaced"], kept["retries"]) == ([1], 1, 0)


def test_the_errors_of_a_reopened_task_are_subtracted(store: TaskStore) -> None:
    error = b'{"exc_type": "E"}'
    failed: Row = {"status": "FAILURE", "error_group": "1:ab", "result": error}
    store_archived(store, archived(**failed), archived(id="2", **failed))
    before = [row["count"] for row in rows_of(store, error_group)]
    store_result(store)
    reopened(store)

    assert before == [2]
    assert [row["count"] for row in rows_of(store, error_group)] == [1]


UUID = "12345678-1234-4123-8123-1234567890ab"


@pytest.mark.parametrize(
    ("id", "is_own"),
    [
        (UUID, True),
        ("1", False),
        (UUID.upper(), False),
        (f"{UUID}0", False),
        (f"0{UUID}", False),
        (UUID.replace("-4", "-1"), False),
    ],
)
def test_an_id_of_celery_is_a_random_uuid_in_lower_case(id: str, is_own: bool) -> None:
    assert reopening._is_own(id) == is_own


@pytest.mark.parametrize("id", [UUID, "own"])
@pytest.mark.parametrize("since", [NOON, None])
def test_a_task_in_a_large_batch_is_reopened(
    store: TaskStore, monkeypatch: pytest.MonkeyPatch, id: str, since: datetime | None
) -> None:
    monkeypatch.setattr(reopening, "MAX_UNBOUNDED", 1)
    store_archived(store, archived(id=id))
    store_result(store, task_id=id)

    assert reopened(store, ended(id, since), ended("other")) == {id}


def test_a_large_batch_may_have_ids_of_celery_and_others(
    store: TaskStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reopening, "MAX_UNBOUNDED", 1)
    store_archived(store, archived(id=UUID), archived(id="own"))
    for id in (UUID, "own"):
        store_result(store, task_id=id)

    assert reopened(store, ended(UUID), ended("own")) == {UUID, "own"}


def test_only_the_message_of_the_next_run_is_left(store: TaskStore) -> None:
    for id, minute in (("1", 0), ("2", 1), ("3", 2), ("4", 20)):
        read = read_task(message(id=id), seen_at=at(1))
        values: Row = {"published_at": at(minute), "scheduled_at": at(-9)}
        with store.engine.begin() as connection:
            write_batch(connection, [read._replace(**values)])
        store_result(store, task_id=id, archived_at=at(13))
    with store.engine.begin() as connection:
        queue_again(connection, [], at(3))
        before = len(connection.execute(select(taskmeta)).all())
        queue_again(connection, ["1", "3", "4"], at(3))
    times = {
        row["id"]: (row["scheduled_at"], row["seen_at"]) for row in rows_of(store, task)
    }

    latest = at(3) + MAX_LEAD
    assert before == 4
    assert [row["task_id"] for row in rows_of(store, taskmeta)] == ["2"]
    assert times == {
        **{"1": (at(0), at(1)), "2": (at(-9), at(1)), "3": (at(2), at(2))},
        "4": (latest, latest),
    }

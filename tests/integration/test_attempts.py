"""The attempts of a task: retries, lost runs, and runs after the task has ended."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from celery import Celery, states
from celery.app.task import Context
from kombu.message import Message
from sqlalchemy import Engine, select

from cadasta.workertoolbox.results import TaskStore
from cadasta.workertoolbox.results._backend.start_watch import StartWatch
from cadasta.workertoolbox.results._database.tables import taskmeta
from cadasta.workertoolbox.results._headers import PUBLISHED_AT
from cadasta.workertoolbox.results._history.attempt_records import MAX_ATTEMPTS
from cadasta.workertoolbox.results._monitor.message import read_task
from cadasta.workertoolbox.results._monitor.upserts import write_batch
from support.result_backends import app_with_backend

PUBLISHED = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)


@pytest.fixture
def app(result_backend: str) -> Iterator[Celery]:
    """An app that stores results in a database of each kind."""
    app = app_with_backend(result_backend)
    yield app
    app.close()


class Run:
    """A run of the task `1` in a process of its own."""

    def __init__(
        self,
        app: Celery,
        worker: str = "a@host",
        retries: int = 0,
        after: timedelta = timedelta(),
    ) -> None:
        self.backend: Any = app.backend
        published_at = PUBLISHED + timedelta(minutes=retries) + after
        self.request: Any = Context(
            id="1",
            task="export.echo",
            args=[],
            kwargs={},
            hostname=worker,
            retries=retries,
            delivery_info={"routing_key": "export"},
            **{PUBLISHED_AT: published_at.isoformat()},
        )

    def start(self, *, is_written: bool = True) -> Run:
        """Store the start, at once or with the next state."""
        self.store(states.STARTED, {"pid": 1})
        if is_written:
            self.backend.store_pending_start("1")
        return self

    def store(self, state: str, result: object, traceback: str | None = None) -> None:
        """Store a state."""
        self.backend.store_result("1", result, state, traceback, request=self.request)

    def retry(self, error: Exception) -> None:
        """Store that the task is to be retried."""
        self.store(states.RETRY, error, f"Traceback of {error}")


def outcomes(store: TaskStore) -> list[tuple[str | None, str | None]]:
    return [(attempt.outcome, attempt.worker) for attempt in store.attempts("1")]


@pytest.mark.parametrize("is_written", [True, False], ids=["slow", "quick"])
def test_a_task_that_runs_once_has_one_attempt_and_nothing_more_is_stored(
    app: Celery, database_store: TaskStore, engine: Engine, is_written: bool
) -> None:
    run = Run(app).start(is_written=is_written)
    run.store("PROGRESS", 1)
    run.store(states.SUCCESS, 42)
    [attempt] = database_store.attempts("1")
    with engine.connect() as connection:
        kept = connection.scalars(select(taskmeta.c.attempts)).one()

    assert (attempt.outcome, attempt.retries, attempt.queue) == (
        states.SUCCESS,
        0,
        "export",
    )
    assert attempt.scheduled_at == PUBLISHED
    assert attempt.started_at is not None
    assert attempt.finished_at is not None
    assert attempt.started_at <= attempt.finished_at
    assert attempt.error is None
    assert kept is None
    assert database_store.get("1").result == 42


@pytest.mark.parametrize(
    ("retries", "after_s", "outcome"),
    [(0, 30, "REPLACED"), (0, 0, "LOST"), (1, 30, "LOST")],
    ids=["replacement", "redelivery", "retry"],
)
def test_a_run_without_an_end_is_lost_unless_its_task_was_published_again(
    app: Celery,
    database_store: TaskStore,
    retries: int,
    after_s: float,
    outcome: str,
) -> None:
    Run(app).start()
    later = Run(app, "b@host", retries, timedelta(seconds=after_s)).start()
    later.store(states.SUCCESS, 42)

    assert outcomes(database_store) == [(outcome, "a@host"), ("SUCCESS", "b@host")]


@pytest.mark.parametrize("is_written", [True, False], ids=["slow", "quick"])
def test_each_retry_keeps_its_error(
    app: Celery, database_store: TaskStore, is_written: bool
) -> None:
    for retries, error in enumerate((ValueError("no \0 'map'"), KeyError("\\ü"))):
        Run(app, retries=retries).start(is_written=is_written).retry(error)
        assert outcomes(database_store)[-1] == (states.RETRY, "a@host")
    Run(app, "b@host", retries=2).start(is_written=is_written).store(
        states.FAILURE, OSError("gone")
    )
    first, second, last = database_store.attempts("1")

    assert [each.outcome for each in (first, second, last)] == [
        states.RETRY,
        states.RETRY,
        states.FAILURE,
    ]
    assert [each.retries for each in (first, second, last)] == [0, 1, 2]
    assert first.error == r"ValueError: no \x00 'map'"
    assert first.traceback == r"Traceback of no \x00 'map'"
    assert second.error == "KeyError: \\ü"
    assert last.error == "OSError: gone"
    assert first.scheduled_at == PUBLISHED
    assert second.scheduled_at == PUBLISHED + timedelta(minutes=1)
    assert first.finished_at is not None
    assert second.started_at is not None
    assert first.finished_at <= second.started_at


@pytest.mark.parametrize("is_written", [True, False], ids=["slow", "quick"])
@pytest.mark.parametrize("ends", [True, False], ids=["ended", "running"])
def test_a_retry_that_is_stored_after_a_state_of_the_next_run_is_kept(
    app: Celery, database_store: TaskStore, is_written: bool, ends: bool
) -> None:
    Run(app).start(is_written=is_written).retry(KeyError("first"))
    slow = Run(app, retries=1).start(is_written=is_written)
    if is_written:  # By the main process, whose time differs a little.
        slow.request.workertoolbox_started_at += timedelta(milliseconds=20)
    last = Run(app, "b@host", retries=2).start()
    if ends:
        last.store(states.SUCCESS, 42)
    for _ in range(2):  # Once more, because the first answer was lost.
        slow.retry(ValueError("no map"))
    attempts = database_store.attempts("1")

    assert [(each.outcome, each.retries, each.worker) for each in attempts] == [
        (states.RETRY, 0, "a@host"),
        (states.RETRY, 1, "a@host"),
        (states.SUCCESS if ends else None, 2, "b@host"),
    ]
    assert [each.error for each in attempts] == [
        "KeyError: first",
        "ValueError: no map",
        None,
    ]
    assert attempts[1].traceback == "Traceback of no map"
    assert attempts[1].finished_at is not None


@pytest.mark.parametrize("worker", ["a@host", "b@host"])
@pytest.mark.parametrize("is_written", [True, False], ids=["slow", "quick"])
def test_a_run_that_is_not_finished_when_another_one_begins_is_lost(
    app: Celery, database_store: TaskStore, is_written: bool, worker: str
) -> None:
    first = Run(app).start()
    # Long ago, as after a visibility timeout.
    long_ago = PUBLISHED + timedelta(seconds=1)
    backend: Any = app.backend
    with backend.database.connect() as connection:
        connection.execute(taskmeta.update().values(started_at=long_ago))
    Run(app, worker).start(is_written=is_written).store(states.SUCCESS, 42)
    lost, last = database_store.attempts("1")

    assert (lost.outcome, lost.worker, lost.finished_at) == ("LOST", "a@host", None)
    assert lost.started_at == long_ago
    assert (last.outcome, last.worker) == (states.SUCCESS, worker)

    # It was only slow.
    first.request.workertoolbox_started_at = long_ago
    first.store(states.SUCCESS, 43)
    assert outcomes(database_store) == [
        ("DUPLICATE", "a@host"),
        (states.SUCCESS, worker),
    ]
    assert database_store.get("1").result == 42


@pytest.mark.parametrize(
    ("state", "result", "error"),
    [
        (states.SUCCESS, 43, None),
        (states.FAILURE, ValueError("twice"), "ValueError: twice"),
    ],
)
def test_a_run_that_ends_after_a_success_is_a_duplicate(
    app: Celery,
    database_store: TaskStore,
    state: str,
    result: object,
    error: str | None,
) -> None:
    Run(app).start().store(states.SUCCESS, 42)
    second = Run(app, "b@host").start()
    for _ in range(2):  # Once more, because the first answer was lost.
        second.store(state, result)
    _, duplicate = database_store.attempts("1")

    assert (duplicate.outcome, duplicate.worker) == ("DUPLICATE", "b@host")
    assert duplicate.error == error
    assert duplicate.finished_at is not None
    assert database_store.get("1").result == 42


def test_a_failure_that_the_main_process_stored_is_an_attempt_of_its_own(
    app: Celery, database_store: TaskStore
) -> None:
    run = Run(app).start()
    app.backend.mark_as_failure("1", TimeoutError("killed"), request=run.request)
    Run(app, "b@host").start().store(states.SUCCESS, 42)
    failure, _ = database_store.attempts("1")

    assert failure.error == "TimeoutError: killed"
    assert outcomes(database_store) == [
        (states.FAILURE, "a@host"),
        (states.SUCCESS, "b@host"),
    ]


def test_a_start_that_the_main_process_stored_is_of_the_same_run(
    app: Celery, database_store: TaskStore
) -> None:
    run = Run(app).start(is_written=False)
    backend: Any = app.backend
    watch = StartWatch(backend.database, backend.build_row)
    accepted_at = run.request.workertoolbox_started_at - timedelta(milliseconds=30)
    seen_by_main: Any = Context(vars(run.request), worker_pid=1, _context=run.request)
    seen_by_main.time_start = accepted_at.timestamp()
    watch._write_if_missing(seen_by_main)
    run.store(states.SUCCESS, 42)

    assert outcomes(database_store) == [(states.SUCCESS, "a@host")]


def publish(engine: Engine, numbers: Iterable[int]) -> None:
    """Store the messages with these numbers of retries."""
    read = []
    for retries in numbers:
        published_at = PUBLISHED + timedelta(minutes=retries)
        headers: dict[str, Any] = {"task": "export.echo", "id": "1", "retries": retries}
        message: Any = Message(
            body="[[], {}, {}]",
            headers={**headers, PUBLISHED_AT: published_at.isoformat()},
            content_type="application/json",
            content_encoding="utf-8",
            delivery_info={"routing_key": "export"},
        )
        read.append(read_task(message, seen_at=datetime.now(UTC)))
    with engine.begin() as connection:
        write_batch(connection, read)


def test_messages_that_are_still_to_be_run_are_attempts(
    app: Celery, database_store: TaskStore, engine: Engine
) -> None:
    for retries in range(2):
        publish(engine, [retries])
        if not retries:
            Run(app).start().retry(ValueError("x"))
    first, second = database_store.attempts("1")

    assert (first.outcome, first.retries) == (states.RETRY, 0)
    assert (second.outcome, second.retries, second.queue) == (None, 1, "export")
    assert second.scheduled_at == PUBLISHED + timedelta(minutes=1)
    assert second.started_at is None
    assert database_store.attempts("unknown") == []


def test_the_last_hundred_attempts_are_kept(
    app: Celery, database_store: TaskStore, engine: Engine
) -> None:
    count = MAX_ATTEMPTS + 5
    publish(engine, range(count))
    for retries in range(count):
        Run(app, retries=retries).retry(ValueError("x" * 100_000))
    found = database_store.attempts("1")

    assert [each.retries for each in found] == list(range(5, count))
    assert {each.outcome for each in found} == {states.RETRY}
    assert all(len(each.error or "") < 5000 for each in found)

"""The moment at which the start of a task is written to the database."""

from __future__ import annotations

import os
import time
from typing import Any

import pytest
from celery import Celery, states
from celery.app.task import Context
from celery.app.trace import trace_task
from celery.exceptions import Reject
from polling import eventually, status_of

from cadasta.workertoolbox.results import TaskStore
from cadasta.workertoolbox.results._backend import deferred_starts
from cadasta.workertoolbox.results._backend.deferred_starts import DELAY_S
from cadasta.workertoolbox.results.backend import Backend


def request_for(id: str) -> Context:
    return Context(id=id, task="export.project")


def record_statements(backend: Backend) -> list[str]:
    """Return a list to which the driver adds each statement from now on."""
    statements: list[str] = []
    backend.task_result_exists("nothing")  # Opens the connection.
    with backend.database.connect() as connection:
        driver: Any = connection.connection.dbapi_connection
        driver.set_trace_callback(statements.append)
    return statements


def test_a_start_is_written_if_the_task_does_not_end_soon(
    backend: Backend, store: TaskStore
) -> None:
    backend.store_result("1", {}, states.STARTED, request=request_for("1"))

    assert eventually(lambda: status_of(store, "1"), "STARTED") == "STARTED"


def test_a_quick_task_is_written_by_one_statement_with_its_start(
    backend: Backend, store: TaskStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deferred_starts, "DELAY_S", 60.0)
    statements = record_statements(backend)
    request = request_for("1")
    backend.store_result("1", {}, states.STARTED, request=request)
    backend.store_result("1", 42, states.SUCCESS, request=request)
    task = store.get("1")

    assert len(statements) == 1
    assert task.started_at is not None
    assert task.run_s is not None and task.run_s >= 0


def test_the_start_of_a_rejected_task_is_written_before_its_worker_stores_the_end(
    app: Celery, backend: Backend, store: TaskStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deferred_starts, "DELAY_S", 60.0)
    app.conf.task_track_started = True

    @app.task(name="export.project", shared=False)
    def reject() -> None:
        raise Reject("no")

    message = {"id": "1", "task": reject.name, "hostname": "worker@host"}
    trace_task(reject, "1", (), {}, request=message, app=app)
    started = store.get("1")
    # As in the main process of the worker, which does not know when the task started.
    backend.mark_as_failure("1", Reject("no"), request=request_for("1"))
    ended = store.get("1")

    assert (started.status, ended.status) == ("STARTED", "FAILURE")
    assert ended.started_at == started.started_at is not None


def test_a_start_that_cannot_be_written_does_not_block_the_next(
    app: Celery, backend: Backend, store: TaskStore
) -> None:
    app.conf.result_extended = True
    unencodable = Context(id="1", task="export.project", args=[object()])
    backend.store_result("1", {}, states.STARTED, request=unencodable)
    time.sleep(3 * DELAY_S)
    backend.store_result("2", {}, states.STARTED, request=request_for("2"))

    assert eventually(lambda: status_of(store, "2"), "STARTED") == "STARTED"


def test_a_forked_process_writes_only_its_own_starts(
    backend: Backend, store: TaskStore
) -> None:
    backend.store_result("1", {}, states.STARTED, request=request_for("1"))
    child = os.fork()
    if child == 0:
        backend.store_result("2", {}, states.STARTED, request=request_for("2"))
        is_stored = eventually(lambda: backend.task_result_exists("2"), True)
        os._exit(0 if is_stored else 1)
    _, status = os.waitpid(child, 0)

    assert os.waitstatus_to_exitcode(status) == 0
    assert eventually(lambda: status_of(store, "1"), "STARTED") == "STARTED"
    assert status_of(store, "2") == "STARTED"

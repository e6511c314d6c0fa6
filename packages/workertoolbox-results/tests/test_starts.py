"""When the start of a task is written."""

from __future__ import annotations

import os
import time
from typing import Any

from awaited import eventually, status_of
from celery import Celery, states
from celery.app.task import Context

from cadasta.workertoolbox.results import TaskStore
from cadasta.workertoolbox.results._backend.deferred_starts import DELAY_S
from cadasta.workertoolbox.results.backend import Backend


def request_of(id: str) -> Context:
    return Context(id=id, task="export.project")


def statements_of(backend: Backend) -> list[str]:
    """Return the list that what is written from now on gets into."""
    written: list[str] = []
    backend.task_result_exists("nothing")  # The connection is there.
    with backend.database.connect() as connection:
        driver: Any = connection.connection.dbapi_connection
        driver.set_trace_callback(written.append)
    return written


def test_a_start_is_written_if_the_end_does_not_come(
    backend: Backend, store: TaskStore
) -> None:
    backend.store_result("1", {}, states.STARTED, request=request_of("1"))

    assert eventually(lambda: status_of(store, "1"), "STARTED") == "STARTED"


def test_a_quick_task_is_written_once_with_its_start(
    backend: Backend, store: TaskStore
) -> None:
    written = statements_of(backend)
    request = request_of("1")
    backend.store_result("1", {}, states.STARTED, request=request)
    backend.store_result("1", 42, states.SUCCESS, request=request)
    task = store.get("1")

    assert len(written) == 1
    assert task.started_at is not None
    assert task.run_s is not None and task.run_s >= 0


def test_a_start_that_cannot_be_written_does_not_keep_the_next(
    app: Celery, backend: Backend, store: TaskStore
) -> None:
    app.conf.result_extended = True
    changed = Context(id="1", task="export.project", args=[object()])
    backend.store_result("1", {}, states.STARTED, request=changed)
    time.sleep(3 * DELAY_S)
    backend.store_result("2", {}, states.STARTED, request=request_of("2"))

    assert eventually(lambda: status_of(store, "2"), "STARTED") == "STARTED"


def test_a_forked_process_writes_its_own_starts_and_no_others(
    backend: Backend, store: TaskStore
) -> None:
    backend.store_result("1", {}, states.STARTED, request=request_of("1"))
    child = os.fork()
    if child == 0:
        backend.store_result("2", {}, states.STARTED, request=request_of("2"))
        there = eventually(lambda: backend.task_result_exists("2"), True)
        os._exit(0 if there else 1)
    _, status = os.waitpid(child, 0)

    assert os.waitstatus_to_exitcode(status) == 0
    assert eventually(lambda: status_of(store, "1"), "STARTED") == "STARTED"
    assert status_of(store, "2") == "STARTED"

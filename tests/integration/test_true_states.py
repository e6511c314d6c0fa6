"""Tasks that no worker can run any more are shown as ended, with the reason."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from celery import chain, chord, states
from celery.app.task import Context
from sqlalchemy import Engine

from cadasta.workertoolbox.results import Task, database_url, open_engine
from cadasta.workertoolbox.results._history.ended_tasks import ArchiveOptions
from cadasta.workertoolbox.results._monitor.archiving import Archiving
from cadasta.workertoolbox.results._task import failure_text
from support.chord_harness import ACCIDENT_QUEUE, TIMEOUT_S
from support.chord_service import set_flag
from support.polling import wait_until
from support.workflow_service import WorkflowService, by_name, run_workflow_service

#: Closes tasks at once; in production it waits for messages and states on their way.
AT_ONCE = ArchiveOptions(delay_s=0, expired_after_s=0, lost_after_s=0, silent_s=0)

#: Archives at once, but does not count a task as lost as soon as it runs.
RUNNING = ArchiveOptions(delay_s=0, expired_after_s=0)


@pytest.fixture(scope="module", params=["rabbitmq"])
def service(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[WorkflowService]:
    with run_workflow_service(request, tmp_path_factory.mktemp("states")) as service:
        yield service


@pytest.fixture(scope="module")
def engine(service: WorkflowService) -> Iterator[Engine]:
    engine = open_engine(database_url(service.app.conf.result_backend))
    yield engine
    engine.dispose()


def tasks_after_archiving(
    service: WorkflowService,
    engine: Engine,
    root_id: str,
    statuses: dict[str, str],
    options: ArchiveOptions = AT_ONCE,
) -> dict[str, Task]:
    """Archive until the tasks of a workflow have these statuses; return them."""

    def check() -> dict[str, Task]:
        Archiving(engine, options, should_stop=lambda: False).run_once()
        tasks = by_name([*service.store.workflow(root_id)])
        assert {name: task.status for name, task in tasks.items()} == statuses
        return tasks

    return wait_until(check, timeout_s=TIMEOUT_S)


def status_of(service: WorkflowService, id: str) -> str | None:
    """Return the status of a task, or None before its message has been seen."""
    task = service.store.find(id)
    return None if task is None else task.status


def accident(service: WorkflowService, name: str, *args: object) -> Any:
    """Return the signature of a task in the queue whose workers are killed."""
    signature = service.signature(name, *args).set(queue=ACCIDENT_QUEUE)
    signature.freeze()
    return signature


def test_a_task_that_expires_in_its_queue_is_revoked_with_its_workflow(
    service: WorkflowService, engine: Engine
) -> None:
    first = accident(service, "echo", 1)
    first.set(expires=datetime.now(UTC) + timedelta(seconds=0.5))
    body = chain(service.signature("collect"), service.signature("add"))
    chain(first, chord([service.signature("retry", 2)], body))()
    revoked = dict.fromkeys(("echo", "retry", "collect", "add"), "REVOKED")
    tasks = tasks_after_archiving(service, engine, first.id, revoked)
    reason = tasks["echo"].result["exc_message"][0]

    assert reason.startswith("expired at ")
    assert {tasks[name].result for name in ("retry", "collect", "add")} == {
        f"not run: export.echo[{first.id}] expired"
    }


def test_a_task_whose_worker_is_killed_is_lost_until_its_end_is_stored_after_all(
    service: WorkflowService, engine: Engine
) -> None:
    first = accident(service, "echo_after_flag", 1, "never")
    chain(first, service.signature("add"))()
    with service.chords.worker("-c", "1", queues=ACCIDENT_QUEUE) as worker:
        wait_until(
            lambda: status_of(service, first.id) == "STARTED", timeout_s=TIMEOUT_S
        )
        worker.kill()
    lost = {"echo_after_flag": "LOST", "add": "REVOKED"}
    tasks = tasks_after_archiving(service, engine, first.id, lost)
    backend: Any = service.app.backend
    request = Context(id=first.id, task="export.echo_after_flag", root_id=first.id)
    backend.store_result(first.id, 1, states.SUCCESS, request=request)
    late = {"echo_after_flag": "SUCCESS", "add": "REVOKED"}
    after = tasks_after_archiving(service, engine, first.id, late)

    assert str(tasks["echo_after_flag"].result).startswith("lost: started at ")
    assert tasks["echo_after_flag"].worker is not None
    assert tasks["add"].result == (
        f"not run: export.echo_after_flag[{first.id}] was lost"
    )
    assert after["echo_after_flag"].result == 1


def test_revoked_and_limited_tasks_end_with_the_reason(
    service: WorkflowService, engine: Engine
) -> None:
    app = service.app
    hang = service.signature("echo_after_flag", 1, "never")
    running = hang.apply_async()
    wait_until(lambda: status_of(service, running.id) == "STARTED", timeout_s=TIMEOUT_S)
    held = service.signature("echo", 1).apply_async(countdown=3600)
    service.worker.wait_for(f"[{held.id}] received", timeout_s=TIMEOUT_S)
    queued = accident(service, "echo", 1)
    chain(queued, service.signature("add"))()
    hard = hang.apply_async(time_limit=1)
    wait_until(lambda: service.store.find(queued.id), timeout_s=TIMEOUT_S)
    app.control.revoke([held.id, queued.id])
    app.control.revoke(running.id, terminate=True)
    soft = hang.apply_async(soft_time_limit=1)
    expected = {
        running.id: ("REVOKED", "TaskRevokedError: terminated"),
        held.id: ("REVOKED", "TaskRevokedError: revoked"),
        queued.id: ("REVOKED", "TaskRevokedError: revoked"),
        hard.id: ("FAILURE", "TimeLimitExceeded: 1"),
        soft.id: ("FAILURE", "SoftTimeLimitExceeded: "),
    }

    def ended() -> bool:
        tasks = {id: service.store.find(id) for id in expected}
        ends = {
            id: task and (task.status, failure_text(task.result))
            for id, task in tasks.items()
        }
        assert ends == expected
        return True

    wait_until(ended, timeout_s=TIMEOUT_S)
    revoked = {"echo": "REVOKED", "add": "REVOKED"}
    steps = tasks_after_archiving(service, engine, queued.id, revoked)

    assert steps["add"].result == f"not run: export.echo[{queued.id}] was revoked"
    assert service.store.get(running.id).worker is not None
    assert service.store.get(held.id).tracked


def test_a_revoked_task_that_a_new_worker_runs_is_shown_as_running(
    service: WorkflowService, engine: Engine
) -> None:
    first = accident(service, "echo_after_flag", 1, "revoked")
    chain(first, service.signature("add"))()
    wait_until(lambda: service.store.find(first.id), timeout_s=TIMEOUT_S)
    service.app.control.revoke(first.id)
    revoked = {"echo_after_flag": "REVOKED", "add": "REVOKED"}
    tasks_after_archiving(service, engine, first.id, revoked)
    with service.chords.worker("-c", "1", queues=ACCIDENT_QUEUE):
        running = {"echo_after_flag": "STARTED", "add": "REVOKED"}
        tasks_after_archiving(service, engine, first.id, running, RUNNING)
        set_flag("revoked")
        done = {"echo_after_flag": "SUCCESS", "add": "SUCCESS"}
        tasks = tasks_after_archiving(service, engine, first.id, done, RUNNING)

    assert tasks["add"].result == 2
    assert not service.store.attempts(first.id)[:-1]

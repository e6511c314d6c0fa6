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
from support.chord_harness import ACCIDENT_QUEUE, TIMEOUT_S
from support.polling import wait_until
from support.workflow_service import WorkflowService, by_name, run_workflow_service

#: Closes tasks at once; in production it waits for messages and states on their way.
AT_ONCE = ArchiveOptions(delay_s=0, expired_after_s=0, lost_after_s=0, silent_s=0)


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
    service: WorkflowService, engine: Engine, root_id: str, statuses: dict[str, str]
) -> dict[str, Task]:
    """Archive until the tasks of a workflow have these statuses; return them."""

    def check() -> dict[str, Task]:
        Archiving(engine, AT_ONCE, should_stop=lambda: False).run_once()
        tasks = by_name([*service.store.workflow(root_id)])
        assert {name: task.status for name, task in tasks.items()} == statuses
        return tasks

    return wait_until(check, timeout_s=TIMEOUT_S)


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
            lambda: service.store.get(first.id).status == "STARTED",
            timeout_s=TIMEOUT_S,
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

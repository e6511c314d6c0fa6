"""Steps that are never run, because a task before them did not succeed."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from celery import chain, chord, group, states
from sqlalchemy import text

from cadasta.workertoolbox.results import Task
from support.chord_harness import TIMEOUT_S
from support.workflow_service import WorkflowService, run_workflow_service


@pytest.fixture(scope="module", params=["rabbitmq", "filesystem"])
def service(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[WorkflowService]:
    with run_workflow_service(request, tmp_path_factory.mktemp("unrun")) as service:
        yield service


def reasons(tasks: dict[str, Task]) -> dict[str, Any]:
    return {
        name: task.result
        for name, task in tasks.items()
        if str(task.result).startswith("not run: ")
    }


def test_the_steps_after_a_failed_task_end_with_it(service: WorkflowService) -> None:
    fail, step = service.signature("fail", "no"), service.signature("echo")
    result = chain(fail, step, service.signature("add"))()
    root_id = result.parent.parent.id
    tasks = service.ended(root_id, size=3)
    failed, echo, add = tasks["fail"], tasks["echo"], tasks["add"]
    reason = f"not run: export.fail[{root_id}] failed"
    workflow = service.store.workflow(root_id)

    assert (workflow.status, [*workflow.held_up_by]) == ("failed", [])
    assert [step.task.id for step in workflow.critical_path] == [root_id]
    assert failed.result["exc_message"] == ["no"]
    assert reasons(tasks) == {"echo": reason, "add": reason}
    for task, parent in ((echo, failed), (add, echo)):
        assert (task.status, task.queue, task.tracked) == ("FAILURE", "export", True)
        assert (task.root_id, task.parent_id) == (root_id, parent.id)
        assert (task.started_at, task.worker, task.traceback) == (None, None, None)
    with pytest.raises(ValueError, match="no"):
        result.get(timeout=60)


def test_members_of_a_group_callbacks_and_inner_chords_are_not_run_either(
    service: WorkflowService,
) -> None:
    fail, echo = service.signature("fail", "no"), service.signature("echo", 1)
    members = group(echo, service.signature("add", 1))
    inner = chord([service.signature("echo", 2)], service.signature("collect"))
    result = chain(fail, members, inner, service.signature("add", 5)).apply_async()
    root: Any = result
    while root.parent is not None:
        root = root.parent
    root_id = root.id
    tasks = service.ended(root_id, size=6)

    assert len(reasons(tasks)) == 5
    assert {task.root_id for task in tasks.values()} == {root_id}
    assert not any(str(task.name).startswith("celery.") for task in tasks.values())


def test_a_callback_of_a_failed_task_is_not_run(service: WorkflowService) -> None:
    callback = service.signature("echo")
    callback.freeze()
    result = service.signature("fail", "no").apply_async(link=callback)
    tasks = service.ended(result.id, size=2)

    assert tasks["echo"].parent_id == result.id
    assert list(reasons(tasks)) == ["echo"]


@pytest.mark.parametrize("body", ["task", "chain", "group"])
def test_the_body_of_a_failed_chord_is_not_run(
    service: WorkflowService, body: str
) -> None:
    collect, add = service.signature("collect"), service.signature("add")
    bodies = {
        "task": collect,
        "chain": chain(collect, add),
        "group": group(collect, add),
    }
    size = 3 if body == "task" else 4
    header = [service.signature("fail", "no"), service.signature("echo", 1)]
    result = chord(header, bodies[body])()
    header_ids = [each.id for each in header_of(result)]
    tasks = service.ended(header_ids[0], size=size)

    assert set(reasons(tasks)) == set(tasks) - {"fail", "echo"}
    assert set(reasons(tasks).values()) == {
        f"not run: export.fail[{header_ids[0]}] failed"
    }
    assert len(service.show(header_ids[1])) == size
    assert service.store.workflow(header_ids[0]).status == "failed"


def header_of(result: Any) -> list[Any]:
    while not getattr(result.parent, "results", None):
        result = result.parent
    return list(result.parent.results)


@pytest.mark.parametrize("how", ["expired", "was revoked"])
def test_the_steps_after_an_expired_or_revoked_task_end_with_it(
    service: WorkflowService, how: str
) -> None:
    first = service.signature("echo", 1)
    first.freeze()
    if how == "expired":
        first.set(expires=datetime.now(UTC) - timedelta(seconds=1))
    else:
        if service.chords.broker.name == "filesystem":
            pytest.skip("the file-system broker has no remote control")
        # Else a worker may run the task before it reads that it was revoked.
        assert service.app.control.revoke(
            first.id, reply=True, limit=1, timeout=TIMEOUT_S
        )
    chain(first, service.signature("add"), service.signature("add", by=2))()
    tasks = service.ended(first.id, size=3)

    assert {task.status for task in tasks.values()} == {states.REVOKED}
    assert set(reasons(tasks).values()) == {f"not run: export.echo[{first.id}] {how}"}


def test_steps_that_are_not_run_do_not_count_as_untracked_and_are_erased(
    service: WorkflowService,
) -> None:
    fail = service.signature("fail", "s3cret")
    root_id = chain(fail, service.signature("echo"))().parent.id
    service.ended(root_id, size=2)

    assert "not run: export.fail" in service.command("show", root_id)
    assert not service.store.untracked(since=datetime.now(UTC) - timedelta(hours=1))
    service.command("purge", "--root-id", root_id)
    with service.store.engine.connect() as connection:
        rows = connection.execute(text("SELECT * FROM celery_taskmeta")).all()
        kept = connection.execute(text("SELECT * FROM workertoolbox_history")).all()
    assert not any(
        "s3cret" in str(row) or root_id in str(row) for row in (*rows, *kept)
    )

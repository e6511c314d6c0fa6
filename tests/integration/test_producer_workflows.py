"""A workflow that begins outside a task is one workflow, for which Celery has no id."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any

import pytest
from celery import chain, chord, group
from sqlalchemy import text

from support.chord_service import set_flag
from support.polling import wait_until
from support.workflow_service import WorkflowService, run_workflow_service


@pytest.fixture(scope="module", params=["rabbitmq", "filesystem"])
def service(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[WorkflowService]:
    folder = tmp_path_factory.mktemp("producer")
    with run_workflow_service(request, folder) as service:
        yield service


Signature = Callable[..., Any]

#: Canvases by name, each with the number of its tasks.
CANVASES: dict[str, tuple[Callable[[Signature], Any], int]] = {
    "group": (lambda s: group(s("echo", n) for n in range(3)), 3),
    "chord": (lambda s: chord([s("echo", 1), s("echo", 2)], s("collect")), 3),
    "chord and a step": (
        lambda s: chain(chord([s("echo", 1), s("echo", 2)], s("collect")), s("echo")),
        4,
    ),
    "group of chains": (
        lambda s: group(chain(s("echo", n), s("add"), s("add", 2)) for n in range(2)),
        6,
    ),
    "chord of chains": (
        lambda s: chord(
            [chain(s("echo", n), s("add")) for n in range(2)], s("collect")
        ),
        5,
    ),
    "chord of chords": (
        lambda s: chord(
            [
                chord([s("echo", 1), s("echo", 2)], s("collect")),
                s("echo", 3),
            ],
            s("collect"),
        ),
        5,
    ),
    "chord with a group as body": (
        lambda s: chord([s("echo", 1), s("echo", 2)], group(s("echo"), s("collect"))),
        4,
    ),
    "chain": (lambda s: chain(s("echo", 1), s("retry"), s("add")), 3),
    "chord in a chain": (
        lambda s: chain(s("echo", 1), group(s("echo"), s("add")), s("collect")),
        4,
    ),
    "replaced by a chain": (
        lambda s: chain(s("replace", chain(s("echo", 5), s("add"))), s("add", 2)),
        3,
    ),
    "replaced by a chord": (
        lambda s: chain(s("replace_by_chord", [1, 2]), s("echo")),
        4,
    ),
}

#: The names on the critical paths that are the same in each run. A task that replaced
#: itself is there as its last step.
PATHS = {
    "group": ["echo"],
    "chord": ["echo", "collect"],
    "chord and a step": ["echo", "collect", "echo"],
    "group of chains": ["echo", "add", "add"],
    "chord of chains": ["echo", "add", "collect"],
    "chain": ["echo", "retry", "add"],
    "replaced by a chain": ["echo", "add", "add"],
    "replaced by a chord": ["echo", "collect", "echo"],
}


@pytest.fixture(scope="module")
def results(service: WorkflowService) -> dict[str, Any]:
    """A result of each canvas, all of which run at the same time."""
    return {
        name: make(service.signature).apply_async()
        for name, (make, _) in CANVASES.items()
    }


def members_of(result: Any) -> list[str]:
    """Return the ids of the tasks and groups of a result, those before it too."""
    ids = [result.id]
    for each in getattr(result, "results", None) or ():
        ids += members_of(each)
    return ids + (members_of(result.parent) if result.parent is not None else [])


@pytest.mark.parametrize("name", CANVASES)
def test_a_workflow_from_a_producer_is_found_by_each_of_its_tasks_and_groups(
    service: WorkflowService, results: dict[str, Any], name: str
) -> None:
    result, size = results[name], CANVASES[name][1]
    if name == "chord with a group as body":
        result = result.parent  # No message has the id of the group that is the body.
    ids = members_of(result)
    found = [service.ended(id, size=size) for id in ids[-1:]][0]
    everywhere = {task.id for task in found.values()}
    groups = set(ids) - everywhere
    shown = [{task["id"] for task in service.show(id)} for id in [ids[0], ids[-1]]]
    by_root = [
        {task.id for task in service.store.workflow(task.root_id or "")}
        for task in found.values()
    ]

    assert shown == [everywhere] * 2
    assert by_root == [everywhere] * size
    for id in groups:
        assert {task.id for task in service.store.workflow(id)} == everywhere


@pytest.mark.parametrize("name", CANVASES)
def test_the_critical_path_of_a_workflow_leads_to_its_end(
    service: WorkflowService, results: dict[str, Any], name: str
) -> None:
    result, size = results[name], CANVASES[name][1]
    if name == "chord with a group as body":
        result = result.parent
    root_id = members_of(result)[-1]
    service.ended(root_id, size=size)
    workflow = service.store.workflow(root_id)
    path = [step.task for step in workflow.critical_path]
    before = {later.id: earlier.id for earlier, later in pairwise(path)}
    took_s = sum(
        (each.wait_s or 0) + (each.run_s or 0) for each in workflow.critical_path
    )

    assert (workflow.status, len(workflow.held_up_by)) == ("done", 0)
    assert sorted(node.task.id for _, node in workflow.walk()) == sorted(
        task.id for task in workflow
    )
    assert path[-1].finished_at == workflow.finished_at
    assert all(before[task.id] == task.parent_id for task in path[1:])
    assert path[0].parent_id in {None, *(task.id for task in path)}
    assert path[-1].finished_at
    total = path[-1].finished_at - min(
        task.scheduled_at for task in path if task.scheduled_at
    )
    assert took_s == pytest.approx(total.total_seconds(), abs=1e-3)
    names = [str(task.name).removeprefix("export.") for task in path]
    assert names == PATHS.get(name, names)


def test_a_running_chord_is_shown_with_its_body_and_erased_as_a_whole(
    service: WorkflowService,
) -> None:
    key = f"erase-{service.chords.broker.name}"
    header = [service.signature("echo_after_flag", n, key) for n in range(2)]
    result: Any = chord(
        header, chain(service.signature("collect"), service.signature("echo"))
    )()
    group_id = result.parent.parent.id if result.parent.parent else result.parent.id

    def running() -> Any:
        # What holds the body up may change until both tasks have started.
        workflow = service.store.workflow(group_id)
        statuses = sorted(task.status for task in workflow)
        assert statuses == [*["PLANNED"] * 2, *["STARTED"] * 2]
        return workflow

    workflow = wait_until(running)
    ids = [task.id for task in workflow]
    tree = [(depth, str(node.task.name)) for depth, node in workflow.walk()]
    first = workflow.held_up_by[0].task

    assert {each.task.status for each in workflow.held_up_by} == {"STARTED"}
    assert tree == [
        *[(0, "export.echo_after_flag")] * 2,
        *((0, "export.collect"), (1, "export.echo")),
    ]
    assert [step.task.id for step in workflow.critical_path][0] == first.id
    assert [step.task.name for step in workflow.critical_path][1:] == [
        *("export.collect", "export.echo")
    ]
    assert f"waits for export.echo_after_flag {first.id}, " in service.command(
        *("show", group_id)
    )

    set_flag(key)
    service.ended(group_id, size=4)
    service.command("purge", "--root-id", ids[0])
    with service.store.engine.connect() as connection:
        for table in ("celery_taskmeta", "workertoolbox_task", "workertoolbox_chord"):
            rows = connection.execute(text(f"SELECT * FROM {table}")).all()
            assert not any(id in str(row) for row in rows for id in (*ids, group_id))


def test_an_unknown_group_is_not_found(service: WorkflowService) -> None:
    workflow = service.store.workflow("unknown")

    assert workflow == [] and workflow.status is None

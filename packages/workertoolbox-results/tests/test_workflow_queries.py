"""Workflows that `TaskStore` reads from a database, and what `tasks show` prints."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from archiving import archive
from celery import Celery, chain, chord, states
from celery.bin.celery import celery
from click.testing import CliRunner
from closing import publish, store_state, write
from published_workflows import published, workflow_app
from sample_flows import FAILED, store_failed

from cadasta.workertoolbox.results import TaskStore, Workflow
from cadasta.workertoolbox.results._monitor.records import TaskRecord
from cadasta.workertoolbox.results.backend import Backend


@pytest.fixture
def publisher() -> Iterator[Celery]:
    app = workflow_app()
    yield app
    app.close()


def publish_canvas(backend: Backend, app: Celery) -> tuple[TaskRecord, list[str]]:
    """Store the first message of `a | (b, c | d) | e | f`; return it and all ids."""
    a, b, c, d, e, f = (app.signature(name, task_id=name) for name in "abcdef")
    [first] = published(app, chain(a, chord([b, chain(c, d)], e), f))
    write(backend, [first])
    return first, [first.id, *(step.id for step in first.planned)]


def tree(workflow: Workflow) -> list[str]:
    return ["-" * depth + str(node.task.name) for depth, node in workflow.walk()]


def path(workflow: Workflow) -> list[str | None]:
    return [step.task.name for step in workflow.critical_path]


def test_a_workflow_has_its_planned_steps_in_the_tree_and_on_the_path(
    publisher: Celery, backend: Backend, store: TaskStore
) -> None:
    first, _ = publish_canvas(backend, publisher)
    workflow = store.workflow(first.id)

    assert tree(workflow) == ["a", "-b", "-c", "--d", "-e", "--f"]
    assert (workflow.status, workflow.counts) == (
        "waiting",
        {"QUEUED": 1, "PLANNED": 5},
    )
    assert path(workflow) == ["a", "c", "d", "e", "f"]
    [holdup] = workflow.held_up_by
    assert (holdup.task.id, holdup.activity, holdup.since) == (
        *(first.id, "queued"),
        first.scheduled_at,
    )


@pytest.mark.parametrize("is_archived", [False, True])
def test_the_status_and_the_path_stay_when_a_workflow_is_archived(
    publisher: Celery, backend: Backend, store: TaskStore, is_archived: bool
) -> None:
    first, ids = publish_canvas(backend, publisher)
    begin = datetime.now(UTC) - timedelta(minutes=10)
    parents = {"b": "a", "c": "a", "d": "c", "e": "d", "f": "e"}
    header_id = store.get("b").group_id
    for number, id in enumerate(ids):
        at = begin + timedelta(minutes=number)
        lineage = {"root_id": first.id, "parent_id": parents.get(id)}
        # Celery gives the body the group of its header.
        group = header_id if id in "bde" else None
        headers: dict[str, Any] = {"id": id, "task": id, "group": group, **lineage}
        publish(backend, workertoolbox_published_at=at.isoformat(), **headers)
        state = states.FAILURE if id == "f" else states.SUCCESS
        error = ValueError("no") if id == "f" else 1
        store_state(backend, id, state, error, task=id, group=group, **lineage)
    if is_archived:
        assert archive(backend) == len(ids)
    workflow = store.workflow(first.id)

    assert (workflow.status, path(workflow)) == ("failed", ["a", "c", "d", "e", "f"])
    assert tree(workflow) == ["a", "-b", "-c", "--d", "---e", "----f"]
    assert not workflow.held_up_by


def show(app: Celery, *words: str) -> str:
    arguments: list[Any] = ["-A", app, "tasks", "show", *words]
    result = CliRunner().invoke(celery, arguments)
    assert result.exit_code == 0, result.output
    return result.output


def test_show_says_what_holds_a_workflow_up(
    publisher: Celery, backend: Backend, app: Celery
) -> None:
    first, _ = publish_canvas(backend, publisher)
    lines = show(app, first.id).splitlines()

    assert (
        lines[-4] == ""
        and lines[-3].startswith("waiting for ")
        and "5 PLANNED, 1 QUEUED" in lines[-3]
    )
    assert lines[-2].startswith("critical path ◆ of 5 tasks, ")
    assert lines[-1].startswith(f"waits for a {first.id}, queued in planned for ")
    assert show(app, first.id, "--summary").splitlines()[1:] == lines[-2:]


#: Keys of a task that `show --json` adds to those of every task.
WORKFLOW_KEYS = [
    *("depth", "header_id", "on_path", "path_wait_s", "path_run_s", "holds_up")
]


def test_json_says_of_each_task_whether_it_is_on_the_path(
    publisher: Celery, backend: Backend, app: Celery
) -> None:
    first, _ = publish_canvas(backend, publisher)
    objects: list[dict[str, Any]] = [
        json.loads(line) for line in show(app, "b", "--json").splitlines()
    ]

    assert {tuple([*each][-6:]) for each in objects} == {tuple(WORKFLOW_KEYS)}
    assert [(each["name"], each["depth"], each["on_path"]) for each in objects] == [
        *(("a", 0, True), ("b", 1, False), ("c", 1, True)),
        *(("d", 2, True), ("e", 1, True), ("f", 2, True)),
    ]
    assert objects[0]["holds_up"] == "queued" and objects[0]["path_wait_s"] > 0
    assert {each["holds_up"] for each in objects[1:]} == {None}
    assert objects[4]["header_id"] == objects[1]["group_id"] is not None


def test_the_summary_in_json_is_one_object_with_stable_keys(
    publisher: Celery, backend: Backend, app: Celery
) -> None:
    first, _ = publish_canvas(backend, publisher)
    summary = json.loads(show(app, first.id, "--summary", "--json"))

    assert [*summary] == [
        *("status", "tasks", "counts", "scheduled_at", "started_at", "finished_at"),
        *("read_at", "reruns", "critical_path", "held_up_by"),
    ]
    assert [*summary["critical_path"][0]] == [
        *("id", "name", "status", "wait_s", "run_s")
    ]
    assert [*summary["held_up_by"][0]] == [
        *("id", "name", "queue", "worker", "activity", "since", "for_s")
    ]
    assert (summary["status"], summary["tasks"]) == ("waiting", 6)


def test_all_tasks_of_a_large_workflow_are_drawn_if_asked_for(
    backend: Backend, app: Celery
) -> None:
    for number in range(210):
        parent = {"parent_id": "0"} if number else {}
        publish(backend, id=f"{number}", root_id="0", **parent)

    part = show(app, "0")

    assert part.count("export.project  QUEUED") < 100
    assert re.search(r"└── … \d+ more: \d+ QUEUED\n", part)
    assert show(app, "0", "--all").count("export.project  QUEUED") == 210


def test_an_outline_has_the_errors_but_not_the_results_of_tasks(
    store: TaskStore,
) -> None:
    store_failed(store)
    whole, outline = store.workflow_of(FAILED), store.workflow_of(FAILED, outline=True)

    assert [each.id for each in outline] == [each.id for each in whole]
    assert (outline.status, path(outline)) == (whole.status, path(whole))
    for one, other in zip(outline, whole, strict=True):
        assert one.result == (None if other.status == "SUCCESS" else other.result)
        assert one.not_run == other.not_run


@pytest.mark.parametrize("is_archived", [False, True])
def test_the_attempts_of_several_tasks_are_those_of_each(
    backend: Backend, store: TaskStore, is_archived: bool
) -> None:
    store_failed(store)
    if is_archived:
        assert archive(backend)
    ids = [*(task.id for task in store.workflow(FAILED)), "unknown"]
    found = store.attempts_of([*ids, *ids])

    assert found == {id: store.attempts(id) for id in ids}
    assert [len(found[id]) for id in (FAILED, "retried", "unknown")] == [1, 3, 0]
    assert store.attempts_of([]) == {}

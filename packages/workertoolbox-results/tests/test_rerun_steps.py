"""Failed steps of workflows that are published again with the steps after them."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from celery import Celery, chain, chord
from celery.bin.celery import celery
from click.testing import CliRunner
from kombu import Queue
from messages import message
from stored_tasks import store_state
from taken_messages import take

from cadasta.workertoolbox.results import (
    TaskNotFound,
    TaskStore,
    begin_rerun,
    plan_failed_steps,
    rerun,
    resume_rerun,
)
from cadasta.workertoolbox.results._headers import RERUN
from cadasta.workertoolbox.results._monitor.message import read_task
from cadasta.workertoolbox.results._monitor.planned import planned_steps
from cadasta.workertoolbox.results._monitor.upserts import write_batch
from cadasta.workertoolbox.results._reruns.messages import new_id
from cadasta.workertoolbox.results._reruns.steps import renew

FAST = 10_000


def nothing(*_: object) -> None:
    pass


@pytest.fixture
def canvas(app: Celery) -> Celery:
    """An app with the tasks `a` to `d` in the queue `export`, on a broker in memory."""
    app.amqp.queues.add(Queue("export"))
    app.conf.task_default_queue = "export"
    for name in "abcd":
        app.task(name=name, shared=False)(nothing)
    take(app)
    return app


def store_messages(store: TaskStore, *messages: Any) -> None:
    records = [read_task(each, seen_at=datetime.now(UTC)) for each in messages]
    with store.engine.begin() as connection:
        write_batch(connection, records)


def fail_first(app: Celery, store: TaskStore, signature: Any) -> list[str]:
    """Publish a canvas whose first tasks fail, and return the ids of these."""
    signature.apply_async()
    messages = take(app)
    store_messages(store, *messages)
    ids = [each.headers["id"] for each in messages]
    for id in ids:
        store_state(store, id, "FAILURE")
    return ids


def refusal(app: Celery, store: TaskStore, root_id: str) -> str | None:
    [found] = plan_failed_steps(app, store, root_id).tasks
    return found.refusal


def test_a_failed_step_is_published_with_the_rest_of_its_chain(
    canvas: Celery, store: TaskStore
) -> None:
    a, b, c, d = (canvas.tasks[name] for name in "abcd")
    rest = (b.s(2), chord([c.s(3), c.s(4)], d.s()))
    [first] = fail_first(canvas, store, chain(a.s(1), *rest))
    before = {task.id for task in store.workflow(first)}
    plan = plan_failed_steps(canvas, store, first)
    id = begin_rerun(store, plan, reason="repaired")
    [outcome] = resume_rerun(canvas, store, id, per_s=FAST)
    [sent] = take(canvas)
    store_messages(store, sent)
    steps = planned_steps(json.loads(sent.body)[2], task_id=outcome.new_id)
    after = {task.id: task for task in store.workflow(first)}

    assert (sent.headers["root_id"], sent.headers["task"]) == (first, "a")
    assert [step.name for step in steps] == ["b", "c", "c", "d"]
    # Each of the four old ids has a new one.
    assert {step.id for step in steps} == {new_id(id, old) for old in before - {first}}
    assert {step.parent_id for step in steps[:1]} == {outcome.new_id}
    assert after.keys() == before | {new_id(id, old) for old in before}
    assert outcome.note is None
    assert store.operation(id).kind == "failed-steps"


def test_the_steps_after_a_rerun_name_the_steps_that_they_repeat(
    canvas: Celery, store: TaskStore
) -> None:
    a, b = canvas.tasks["a"], canvas.tasks["b"]
    own_header: Any = {"x": 1}
    signature = chain(a.s(1), b.s(2).set(headers=own_header))
    [first] = fail_first(canvas, store, signature)
    [old] = {task.id for task in store.workflow(first)} - {first}
    id = begin_rerun(store, plan_failed_steps(canvas, store, first))
    [*resume_rerun(canvas, store, id, per_s=FAST)]
    [sent] = take(canvas)
    [step] = json.loads(sent.body)[2]["chain"]

    own = new_id(id, old)
    assert step["options"]["task_id"] == own
    assert step["options"]["headers"] == {
        "x": 1,
        RERUN: {"of": old, "id": own, "operation": id},
    }


def test_callbacks_follow_a_failed_step(canvas: Celery, store: TaskStore) -> None:
    a, b, c = (canvas.tasks[name] for name in "abc")
    signature = a.s(1).set(link=b.s(), link_error=c.s())
    [first] = fail_first(canvas, store, signature)
    id = begin_rerun(store, plan_failed_steps(canvas, store, first))
    [*resume_rerun(canvas, store, id, per_s=FAST)]
    [sent] = take(canvas)
    embedded = json.loads(sent.body)[2]

    assert [each["task"] for each in embedded["callbacks"]] == ["b"]
    assert [each["task"] for each in embedded["errbacks"]] == ["c"]


def test_without_the_option_a_step_runs_alone_and_the_command_says_so(
    canvas: Celery, store: TaskStore
) -> None:
    a, b = canvas.tasks["a"], canvas.tasks["b"]
    [first] = fail_first(canvas, store, chain(a.s(1), b.s(2)))
    [outcome] = rerun(canvas, store, [first], per_s=FAST)
    [sent] = take(canvas)

    assert outcome.note == "without its chain"
    assert json.loads(sent.body)[2]["chain"] is None
    assert sent.headers["root_id"] == outcome.new_id


@pytest.mark.parametrize(
    ("args", "reason"),
    [
        (["x" * 20_000], "the steps after it take more than 16 KiB"),
        ([{"token": "t"}], "the steps after it have secrets"),
        ([float("nan")], "the steps after it have a value"),
    ],
)
def test_steps_that_are_not_stored_whole_are_refused(
    canvas: Celery, store: TaskStore, args: list[Any], reason: str
) -> None:
    a, b = canvas.tasks["a"], canvas.tasks["b"]
    [first] = fail_first(canvas, store, chain(a.s(1), b.s(*args)))

    assert reason in (refusal(canvas, store, first) or "")


def test_a_step_after_which_another_was_published_is_refused(
    canvas: Celery, store: TaskStore
) -> None:
    a, b = canvas.tasks["a"], canvas.tasks["b"]
    [first] = fail_first(canvas, store, chain(a.s(1), b.s(2)))
    [second] = {task.id for task in store.workflow(first)} - {first}
    store_messages(store, message(id=second, root_id=first, task="b"))

    assert refusal(canvas, store, first) == (
        f"the step after it has been published: {second}"
    )


def test_only_failed_steps_with_a_message_are_published(
    canvas: Celery, store: TaskStore
) -> None:
    store_messages(
        store,
        *(
            message(id=id, root_id="r", task="a", body=[[], {}, {}])
            for id in ("r", "failed", "running")
        ),
    )
    store_state(store, "r", "SUCCESS", root_id="r")
    store_state(store, "failed", "FAILURE", root_id="r")
    store_state(store, "running", "STARTED", root_id="r")
    store_state(store, "step", "FAILURE", root_id="r", not_run="not run: x", name="b")
    plan = plan_failed_steps(canvas, store, "r")
    with pytest.raises(TaskNotFound):
        plan_failed_steps(canvas, store, "unknown")

    assert [each.task.id for each in plan.tasks] == ["failed"]
    assert plan.refused == []


def test_signatures_among_the_arguments_of_a_step_keep_their_ids() -> None:
    inner = {"task": "a", "args": [], "kwargs": {}, "options": {"task_id": "1"}}
    step = {"task": "b", "args": [inner], "kwargs": {"tasks": [inner]}, "options": {}}
    nested = {"task": "celery.group", "kwargs": {"tasks": [inner]}}
    found = renew({**nested, "options": {"task_id": "g"}}, "o")

    assert renew(step, "o") == step
    [renewed] = found["kwargs"]["tasks"]
    assert renewed["options"]["task_id"] == new_id("o", "1")
    # Without the header, which Celery would pass on to the tasks of the group.
    assert found["options"] == {"task_id": new_id("o", "g")}


def test_the_command_publishes_the_failed_steps_of_a_workflow(
    canvas: Celery, store: TaskStore
) -> None:
    a, b = canvas.tasks["a"], canvas.tasks["b"]
    [first] = fail_first(canvas, store, chain(a.s(1), b.s(2)))
    given: Any = ["-A", canvas, "tasks", "rerun", "--failed-steps", first]
    done = CliRunner().invoke(celery, [*given, "--yes"])
    nothing = CliRunner().invoke(celery, [*given, "--yes"])

    assert (done.exit_code, nothing.exit_code) == (0, 1)
    assert "1 of 1 published" in done.output and "alone" not in done.output
    assert "operation" in nothing.output and "has rerun it" in nothing.output
    assert len(take(canvas)) == 1

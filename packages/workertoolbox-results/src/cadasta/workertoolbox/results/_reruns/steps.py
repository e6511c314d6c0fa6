"""Failed steps of a workflow, which are published again with the steps after them.

The message of a step contains the rest of its chain, with the ids that its tasks would
have had. They get new ids, because those tasks count as ended.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from celery import Celery, states

from cadasta.workertoolbox.results._database.statuses import ENDED
from cadasta.workertoolbox.results._errors import TaskNotFound
from cadasta.workertoolbox.results._monitor.stored_arguments import Form
from cadasta.workertoolbox.results._reruns.headers import (
    Headers,
    Place,
    has_chord,
    places_of,
)
from cadasta.workertoolbox.results._reruns.messages import new_id, rerun_header
from cadasta.workertoolbox.results._reruns.plan import RerunPlan, plan_rerun
from cadasta.workertoolbox.results._store.store import TaskStore
from cadasta.workertoolbox.results._store.tasks.stored_calls import StoredCall
from cadasta.workertoolbox.results._workflows.steps import Step, steps_after

#: The kind of operations that publish the steps after a task as well.
KIND = "failed-steps"

#: The keyword arguments of Celery's own signatures that contain signatures.
_MEMBERS = {
    "celery.group": ("tasks",),
    "celery.chain": ("tasks",),
    "celery.chord": ("header", "body"),
}

#: The options of a signature that contain signatures.
_NESTED = ("chain", "chord", "link", "link_error")

#: Why the steps after a task cannot be published.
_FORMS = {
    Form.REDACTED: "the steps after it have secrets, and are not stored",
    Form.TRUNCATED: "the steps after it take more than 16 KiB, and are not stored",
    Form.CONVERTED: "the steps after it have a value that the database does not keep",
}


def plan_failed_steps(
    app: Celery, store: TaskStore, root_id: str, *, again: bool = False
) -> RerunPlan:
    """Return which failed steps of a workflow can be published again.

    Args:
        app: The app that would publish them.
        store: The database with the workflow.
        root_id: Id of the task that began the workflow, or of one of its groups.
        again: Whether to publish steps that another operation has published already.

    Raises:
        DatabaseUnavailable: The database cannot be reached or refuses the query.
        TaskNotFound: The database does not know the workflow.
    """
    tasks = store.workflow(root_id, shortened=True)
    if not tasks:
        raise TaskNotFound(root_id)
    others = (states.SUCCESS, states.IGNORED)
    failed = [
        task.id
        for task in tasks
        if task.status in ENDED
        and task.status not in others
        and task.scheduled_at is not None
    ]
    headers = Headers(store.engine, timeout_s=store.timeout_s)
    places: dict[str, Sequence[Place]] = {}

    def rule(call: StoredCall) -> str | None:
        obstacle = find_obstacle(store, call, headers)
        if obstacle is None:
            places[call.task.id] = places_of(call)
        return obstacle

    plan = plan_rerun(app, store, failed, again=again, kind=KIND, rule=rule)
    return _refuse_incomplete(plan, headers.find_unplanned(places))


def _refuse_incomplete(plan: RerunPlan, unplanned: Mapping[str, str]) -> RerunPlan:
    """Refuse tasks whose headers need further tasks.

    Args:
        unplanned: For each of them, one of the further tasks.
    """
    tasks = [
        replace(
            each,
            refusal="the header of its chord also needs the result of "
            f"{unplanned[each.task.id]}, which this operation does not rerun; run the "
            "tasks alone, by their ids, or the workflow again",
        )
        if each.task.id in unplanned
        else each
        for each in plan.tasks
    ]
    return replace(plan, tasks=tasks)


def find_obstacle(
    store: TaskStore,
    call: StoredCall,
    headers: Headers,
    *,
    operation_id: str | None = None,
) -> str | None:
    """Return why a step cannot be published with the steps after it, or None.

    Args:
        headers: The headers of the chords that the step may be part of.
        operation_id: The operation that may have made new chords already.

    Raises:
        DatabaseUnavailable: The database cannot be reached or refuses the query.
    """
    options = call.options
    if not options.get("follows"):
        return None
    if "next" not in options:
        return _FORMS[Form(options["next_form"])]
    published = [
        task.id
        for task in store.find_all([step.id for step in steps_of(call)])
        if task.scheduled_at is not None
    ]
    if published:
        return f"the step after it has been published: {published[0]}"
    for place in places_of(call):
        is_made = operation_id and has_chord(
            store.engine,
            new_id(operation_id, place.chord_id),
            timeout_s=store.timeout_s,
        )
        if not is_made and (obstacle := headers.find_obstacle(place)):
            return obstacle
    return None


def steps_of(call: StoredCall) -> Sequence[Step]:
    """Return the steps after a task, as far as they are stored."""
    return [*steps_after(call.options.get("next", {}), task_id=call.task.id)]


def step_options(call: StoredCall, operation_id: str) -> dict[str, Any]:
    """Return the options that make a task a step of its workflow again."""
    parts = call.options.get("next", {})
    renewed = {
        option: renew(parts[part], operation_id)
        for part, option in (
            *(("chain", "chain"), ("chord", "chord"), ("callbacks", "link")),
            ("errbacks", "link_error"),
        )
        if parts.get(part)
    }
    task = call.task
    if "chord" in renewed and task.group_id:
        renewed["group_id"] = new_id(operation_id, task.group_id)
        renewed["group_index"] = parts.get("group_index")
    return {"root_id": task.root_id, "parent_id": task.parent_id, **renewed}


def renew(signature: Any, operation_id: str) -> Any:
    """Return a signature with new ids of its tasks and groups.

    Only signatures that are steps are changed, and not those among the arguments of a
    task.

    Args:
        signature: A signature as JSON, or a list of them.
    """
    match signature:
        case list():
            return [renew(each, operation_id) for each in signature]
        case {"task": str(name), "options": dict(given)}:
            # Celery would pass the header of a group or chord on to its tasks.
            is_task = name not in _MEMBERS
            options = _renew_options(given, operation_id, is_task=is_task)
            kwargs = _renew_items(
                signature.get("kwargs"), _MEMBERS.get(name, ()), operation_id
            )
            return {**signature, "options": options, "kwargs": kwargs}
    return signature


def _renew_options(
    given: Mapping[str, Any], operation_id: str, *, is_task: bool
) -> dict[str, Any]:
    options: dict[str, Any] = _renew_items(given, _NESTED, operation_id)
    for name in ("task_id", "group_id"):
        if isinstance(given.get(name), str):
            options[name] = new_id(operation_id, given[name])
    if is_task and isinstance(given.get("task_id"), str):
        header = rerun_header(operation_id, given["task_id"])
        options["headers"] = (given.get("headers") or {}) | header
    return options


def _renew_items(items: Any, names: Iterable[str], operation_id: str) -> Any:
    if not isinstance(items, dict):
        return items
    found = {name: renew(items[name], operation_id) for name in names if name in items}
    return items | found

"""Tasks with their places in a workflow, for `tasks show --json` and the web API."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from cadasta.workertoolbox.results._json_record import JsonRecord
from cadasta.workertoolbox.results._task import Task
from cadasta.workertoolbox.results._workflows.workflow import Activity, Workflow


@dataclass(frozen=True, slots=True, kw_only=True)
class PlacedTask(JsonRecord):
    """A task, and what its workflow says of it.

    Attributes:
        task: The task.
        reruns: Ids under which the task was published again, oldest first.
        depth: Its level in the tree, from 0.
        header_id: Id of the group that the task waits for, if it is the planned body of
            a chord.
        on_path: Whether it is on the critical path.
        path_wait_s: Seconds that it waited as a part of the critical path; None
            elsewhere, and if that is not known.
        path_run_s: Seconds that it ran as a part of the critical path, likewise.
        holds_up: What it does, if the workflow waits for it.
    """

    json_merged: ClassVar = frozenset({"task"})

    task: Task
    reruns: Sequence[str]
    depth: int
    header_id: str | None
    on_path: bool
    path_wait_s: float | None
    path_run_s: float | None
    holds_up: Activity | None


def placed_tasks(
    workflow: Workflow, reruns: Mapping[str, Sequence[str]]
) -> Iterator[PlacedTask]:
    """Yield the tasks of a workflow in the order of its tree, parents first.

    Args:
        reruns: The ids under which tasks were published again, by their ids.
    """
    steps = {step.task.id: step for step in workflow.critical_path}
    holdups = {each.task.id: each for each in workflow.held_up_by}
    for depth, node in workflow.walk():
        id = node.task.id
        step, holdup = steps.get(id), holdups.get(id)
        yield PlacedTask(
            task=node.task,
            reruns=reruns.get(id, ()),
            depth=depth,
            header_id=node.header_id,
            on_path=step is not None,
            path_wait_s=None if step is None else step.wait_s,
            path_run_s=None if step is None else step.run_s,
            holds_up=None if holdup is None else holdup.activity,
        )

"""A workflow as values: its tasks, its tree, its critical path, what holds it up."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import ClassVar, Literal, overload

from cadasta.workertoolbox.results._json_record import JsonRecord
from cadasta.workertoolbox.results._task import Task

#: What a workflow does, or how it ended; see `Workflow`.
WorkflowStatus = Literal["running", "waiting", "done", "failed", "partly failed"]

#: What an unfinished task does; see `Holdup`.
Activity = Literal["running", "queued", "scheduled", "retrying", "planned"]


@dataclass(frozen=True, slots=True, eq=False)
class WorkflowNode:
    """A task in the tree of a workflow.

    Attributes:
        task: The task.
        children: The tasks that it has published, and the planned steps that follow it,
            oldest first. A planned body of a chord is after the tasks of its header.
        header_id: Id of the group that the task waits for, if it is the planned body of
            a chord.
    """

    task: Task
    children: Sequence[WorkflowNode] = ()
    header_id: str | None = None

    def __repr__(self) -> str:
        # Without its children: a chain may be longer than Python's stack is deep.
        name, size = self.task.name, len(self.children)
        return f"<WorkflowNode {name} {self.task.id} with {size} children>"


_put_task, _put_children, _put_header_id = (
    getattr(WorkflowNode, name).__set__ for name in ("task", "children", "header_id")
)


def make_node(
    task: Task, children: Sequence[WorkflowNode], header_id: str | None
) -> WorkflowNode:
    """Return a node as its constructor does, in a third of the time."""
    node = object.__new__(WorkflowNode)
    _put_task(node, task)
    _put_children(node, children)
    _put_header_id(node, header_id)
    return node


@dataclass(frozen=True, slots=True)
class PathStep(JsonRecord):
    """A task on the critical path of a workflow.

    The seconds of all steps add up to the time from the publication of the first task
    to the end of the last one, or to the present, as far as these times are known.

    Attributes:
        task: The task.
        wait_s: Seconds from when the task before it published it until its latest
            attempt began, or until the present. Earlier attempts, and the time until
            its ETA, are part of it.
        run_s: Seconds for which it ran, or has run so far: until it published the next
            task of the path, even if it ran on.
    """

    json_hidden: ClassVar = frozenset({"task"})
    json_first: ClassVar = ("id", "name", "status")
    json_added: ClassVar = {name: f"task.{name}" for name in json_first}

    task: Task
    wait_s: float | None
    run_s: float | None


@dataclass(frozen=True, slots=True)
class Holdup(JsonRecord):
    """An unfinished task that a workflow waits for.

    Attributes:
        task: The task.
        activity: `running`; `queued` (a worker could start it); `scheduled` (its ETA is
            ahead); `retrying` (it has failed, and its next attempt has not begun); or
            `planned` (what it follows has ended, or is not known, and no monitor has
            seen its message).
        since: Since when it runs, could be started, or is scheduled; for a retry, the
            start of the last attempt. None if that is not known.
        for_s: Seconds since then.
    """

    json_hidden: ClassVar = frozenset({"task"})
    json_first: ClassVar = ("id", "name", "queue", "worker")
    json_added: ClassVar = {name: f"task.{name}" for name in json_first}

    task: Task
    activity: Activity
    since: datetime | None
    for_s: float | None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Workflow(JsonRecord, Sequence[Task]):
    """The tasks of a workflow, oldest first, and what is known of the whole.

    It is a sequence of tasks, and is equal to a list of the same tasks. The tree, the
    path and `held_up_by` may also contain Celery's own tasks, if the workflow waits or
    has waited for them.

    | status | meaning |
    |---|---|
    | `running` | a task runs now |
    | `waiting` | tasks are queued, scheduled, to be retried or planned, and none runs |
    | `done` | all tasks have ended, and none failed |
    | `failed` | all tasks have ended, some failed, and no last one succeeded |
    | `partly failed` | all tasks have ended, some failed, and a last one succeeded |

    Tasks that were revoked, rejected or lost, and steps that were not run, count as
    failed. The last ones are those without a task after them: the end of each chain,
    the body of a chord, the tasks of a group that nothing follows. Of a task that
    `tasks rerun --failed-steps` has run again, only the newest run counts.

    Example:
        Which tasks took the time of a workflow, and what it waits for now::

            workflow = store.workflow(root_id)
            for step in workflow.critical_path:
                print(step.task.name, step.wait_s, step.run_s)
            for holdup in workflow.held_up_by:
                print(holdup.task.name, holdup.activity, holdup.for_s)

    Attributes:
        tasks: The tasks, oldest first; planned steps are last.
        roots: The tasks that no task of the workflow has published, with what is
            beneath them.
        status: One of the above; None without tasks.
        counts: Numbers of tasks by their statuses.
        scheduled_at: When the first task was published.
        started_at: The earliest start of a task, of its latest attempt.
        finished_at: When the last task ended; None before that.
        read_at: When the tasks were read.
        critical_path: The tasks that decided when the workflow ended, in order. Of an
            unfinished workflow, those that lead to the task of `held_up_by` with the
            most planned steps behind it, and these steps. See `find_critical_path`.
        held_up_by: The unfinished tasks that wait for no other task of the workflow,
            those that have lasted longest first. A running task that has published
            unfinished ones is left out until these have ended.
        reruns: The id of the newest run for each earlier run of the same task, if it
            was run again as part of this workflow.
    """

    json_hidden: ClassVar = frozenset({"roots"})
    json_added: ClassVar = {"tasks": "size"}

    status: WorkflowStatus | None = None
    tasks: Sequence[Task]
    roots: Sequence[WorkflowNode] = ()
    counts: Mapping[str, int] = field(default_factory=dict)
    scheduled_at: datetime | None = None
    started_at: datetime | None = None
    finished_at: datetime | None = None
    read_at: datetime | None = None
    reruns: Mapping[str, str] = field(default_factory=dict)
    critical_path: Sequence[PathStep] = ()
    held_up_by: Sequence[Holdup] = ()

    def __len__(self) -> int:
        return len(self.tasks)

    @property
    def size(self) -> int:
        """Number of tasks."""
        return len(self.tasks)

    @overload
    def __getitem__(self, index: int) -> Task: ...

    @overload
    def __getitem__(self, index: slice) -> Sequence[Task]: ...

    def __getitem__(self, index: int | slice) -> Task | Sequence[Task]:
        return self.tasks[index]

    def __iter__(self) -> Iterator[Task]:
        return iter(self.tasks)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Sequence) or isinstance(other, str | bytes):
            return NotImplemented
        return [*self] == [*other]

    def __repr__(self) -> str:
        return f"<Workflow of {len(self)} tasks, {self.status}>"

    def walk(self) -> Iterator[tuple[int, WorkflowNode]]:
        """Yield the nodes of the tree with their depth, parents before children."""
        pending = [(0, node) for node in reversed(self.roots)]
        while pending:
            depth, node = pending.pop()
            yield depth, node
            if node.children:  # Most have none.
                pending += [(depth + 1, child) for child in reversed(node.children)]

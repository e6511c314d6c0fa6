"""The rows of the page of a workflow: its tree, and what each task did when."""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from cadasta.workertoolbox.results._database.statuses import PLANNED
from cadasta.workertoolbox.results._database.types import NEVER
from cadasta.workertoolbox.results._store.tasks.attempts import Attempt
from cadasta.workertoolbox.results._task import Task
from cadasta.workertoolbox.results._workflows.excerpt import Branch, make_excerpt
from cadasta.workertoolbox.results._workflows.holdups import has_failed
from cadasta.workertoolbox.results._workflows.workflow import Workflow, WorkflowNode
from cadasta.workertoolbox.results.web.drawing.planned_bars import (
    KNOWN_WIDTH,
    find_planned_bars,
)
from cadasta.workertoolbox.results.web.drawing.task_bars import (
    RUNNING,
    WAIT,
    Bar,
    find_spans,
    make_bars,
)
from cadasta.workertoolbox.results.web.drawing.time_axis import TimeAxis

#: Maximum number of rows of the page: its HTML has about a kilobyte for each.
MAX_ROWS = 120

#: Levels that are indented; deeper rows show the number of their level.
MAX_LEVELS = 16


@dataclass(frozen=True, slots=True)
class Place:
    """A place in the tree.

    Attributes:
        node: The task; None in place of tasks that are left out.
        depth: Its level in the tree, from 0.
        above: Id of the task above it, or of the tasks that are left out; None at the
            top.
        left_out: The statuses of the tasks that are left out, with their numbers.
    """

    node: WorkflowNode | None
    depth: int
    above: str | None = None
    left_out: Mapping[str, int] | None = None


@dataclass(frozen=True, slots=True)
class Row:
    """A row of the page.

    Attributes:
        place: Its place in the tree.
        bars: What the task did when.
        planned: Where the bar of a planned step is: its place and width in percent.
        size: Number of tasks beneath the task.
        attempts: Number of attempts of the task that are known.
        on_path: Whether the task is on the critical path.
    """

    place: Place
    bars: Sequence[Bar] = ()
    planned: tuple[float, float] | None = None
    size: int = 0
    attempts: int = 0
    on_path: bool = False

    @property
    def waited_s(self) -> float | None:
        """Seconds that the latest attempt waited, or has waited so far."""
        return self._latest(WAIT, "wait_s")

    @property
    def ran_s(self) -> float | None:
        """Seconds that the latest attempt ran, or has run so far."""
        return self._latest(RUNNING, "run_s")

    def _latest(self, kind: str, name: str) -> float | None:
        if self.place.node is None:
            return None
        known: float | None = getattr(self.place.node.task, name)
        if known is None and self.bars and self.bars[-1].span.kind == kind:
            return self.bars[-1].span.seconds
        return known

    @property
    def level(self) -> int:
        """The level that it is indented to."""
        return min(self.place.depth, MAX_LEVELS)

    @property
    def is_deep(self) -> bool:
        """Whether it has no indentation of its own any more."""
        return self.place.depth > MAX_LEVELS


def first_failure(workflow: Workflow) -> Task | None:
    """Return the task that failed first; one that was run, if there is one.

    A task whose newest run has succeeded is passed over.
    """
    by_id = {task.id: task for task in workflow}
    failed = [
        task
        for task in workflow
        if has_failed(by_id.get(workflow.reruns.get(task.id, ""), task))
    ]
    ran = [task for task in failed if not task.not_run]
    return min(ran or failed, key=lambda task: task.finished_at or NEVER, default=None)


def make_axis(workflow: Workflow) -> TimeAxis | None:
    """Return the axis of a workflow; None if none of its times are known."""
    now = workflow.read_at
    since = workflow.scheduled_at or workflow.started_at or workflow.finished_at
    if since is None or now is None:
        return None
    until = max(workflow.finished_at or now, since)
    width = KNOWN_WIDTH if workflow.counts.get(PLANNED) else 100.0
    return TimeAxis(since, until, width)


def find_excerpt(
    workflow: Workflow, nodes: Sequence[tuple[int, WorkflowNode]], *wanted: str | None
) -> Sequence[Place]:
    """Return the rows of a workflow: all, or the most important ones of a large one.

    Args:
        nodes: All nodes of its tree with their depth, parents before children.
        wanted: Ids of tasks that are part of it; the first one that is not None.
    """
    requested_id = next(filter(None, wanted), None)
    branches = make_excerpt(workflow, nodes, limit=MAX_ROWS, requested_id=requested_id)
    places: list[Place] = []
    pending: list[tuple[Branch, str | None]] = [(each, None) for each in branches[::-1]]
    while pending:
        branch, above = pending.pop()
        places.append(Place(branch.node, branch.depth, above, branch.left_out))
        id = None if branch.node is None else branch.node.task.id
        pending += ((child, id) for child in reversed(branch.children))
    return places


def find_branch(
    nodes: Sequence[tuple[int, WorkflowNode]], id: str | None
) -> Sequence[Place]:
    """Return the rows of a task and all tasks beneath it; of the whole without an id.

    There are none if the task is not part of the workflow.

    Args:
        nodes: As for `find_excerpt`.
    """
    if id is None:
        return [Place(node, depth) for depth, node in nodes]
    found: list[Place] = []
    top = None
    for depth, node in nodes:
        if top is not None and depth <= top:
            break
        if top is None and node.task.id == id:
            top = depth
        if top is not None:
            found.append(Place(node, depth - top))
    return found


def make_rows(
    workflow: Workflow,
    nodes: Sequence[tuple[int, WorkflowNode]],
    places: Sequence[Place],
    attempts: Mapping[str, Sequence[Attempt]],
    axis: TimeAxis | None,
) -> Sequence[Row]:
    """Return the rows at these places, with bars on an axis.

    Args:
        nodes: As for `find_excerpt`.
    """
    on_path = {step.task.id for step in workflow.critical_path}
    if len(workflow) < 2:
        on_path = set()
    sizes = _sizes(nodes)
    planned = find_planned_bars(nodes) if workflow.counts.get(PLANNED) else {}
    now = workflow.read_at
    return [_row(each, attempts, axis, now, on_path, sizes, planned) for each in places]


def _row(
    place: Place,
    attempts: Mapping[str, Sequence[Attempt]],
    axis: TimeAxis | None,
    now: datetime | None,
    on_path: Container[str],
    sizes: Mapping[str, int],
    planned: Mapping[str, tuple[float, float]],
) -> Row:
    if place.node is None:
        return Row(place)
    task = place.node.task
    known = attempts.get(task.id, ())
    bars: Sequence[Bar] = ()
    if axis is not None and now is not None:
        bars = make_bars(find_spans(task, known, now), axis)
    return Row(
        place=place,
        bars=bars,
        planned=planned.get(task.id),
        size=sizes.get(task.id, 0),
        attempts=len(known),
        on_path=task.id in on_path,
    )


def _sizes(nodes: Sequence[tuple[int, WorkflowNode]]) -> Mapping[str, int]:
    """Return the number of tasks beneath each task that has any."""
    below: dict[int, int] = {}
    found = {}
    for depth, node in reversed(nodes):
        size = below.pop(depth + 1, 0) if node.children else 0
        if size:
            found[node.task.id] = size
        below[depth] = below.get(depth, 0) + size + 1
    return found

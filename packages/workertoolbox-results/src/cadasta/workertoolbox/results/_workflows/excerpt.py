"""The most important part of a large workflow."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice

from cadasta.workertoolbox.results._workflows.holdups import has_failed
from cadasta.workertoolbox.results._workflows.workflow import Workflow, WorkflowNode

#: Maximum number of tasks of each kind that is looked for: those that hold the workflow
#: up, failed tasks, each end of the critical path, tasks with the same parent, and the
#: tasks above each of the others.
MAX_OF_A_KIND = 20


@dataclass(frozen=True, slots=True, eq=False)
class Branch:
    """A task of an excerpt with what is beneath it, or tasks that are left out.

    Attributes:
        node: The task; None in place of tasks that are left out.
        depth: Its level in the whole tree, from 0.
        children: The next tasks of the excerpt beneath it.
        left_out: The statuses of the tasks that are left out, with their numbers.
    """

    node: WorkflowNode | None
    depth: int
    children: Sequence[Branch] = ()
    left_out: Mapping[str, int] | None = None


def make_excerpt(
    workflow: Workflow,
    nodes: Sequence[tuple[int, WorkflowNode]],
    *,
    limit: int | None = None,
    requested_id: str | None = None,
) -> Sequence[Branch]:
    """Return the tree of a workflow, or its most important part.

    These come first: the requested task, tasks that hold the workflow up, the ends of
    the critical path, failed tasks, and the tasks above them. Then follow the tasks in
    the order of the tree, but only the first ones with the same parent.

    Args:
        nodes: What `walk` of the workflow yields.
        limit: Maximum number of tasks; None for all.
        requested_id: Id of a task that is part of it if it is in the workflow.
    """
    shown = dict.fromkeys(node.task.id for _, node in nodes)
    if limit is not None and len(nodes) > limit:
        wanted = dict.fromkeys(_by_weight(workflow, nodes, requested_id))
        shown = dict.fromkeys(islice((id for id in wanted if id in shown), limit))
    below: dict[int, list[Branch]] = defaultdict(list)
    left_out: dict[int, Counter[str]] = defaultdict(Counter)
    for depth, node in reversed(nodes):
        if node.task.id in shown:
            children = _with_gap(below, left_out, depth + 1)
            below[depth].append(Branch(node, depth, children))
        else:
            left_out[depth][node.task.status] += 1
            if node.children:  # Most have none.
                below[depth] += below.pop(depth + 1, ())
                if depth + 1 in left_out:
                    left_out[depth].update(left_out.pop(depth + 1))
    return _with_gap(below, left_out, 0)


def _with_gap(
    below: dict[int, list[Branch]], left_out: dict[int, Counter[str]], depth: int
) -> Sequence[Branch]:
    """Return the branches on a level, which were found from the last to the first."""
    counts = left_out.pop(depth, None)
    gap = [] if counts is None else [Branch(None, depth, left_out=counts)]
    return [*reversed(below.pop(depth, [])), *gap]


def _by_weight(
    workflow: Workflow,
    nodes: Sequence[tuple[int, WorkflowNode]],
    requested_id: str | None,
) -> Iterator[str]:
    """Yield the ids of tasks, some of them twice, the most important ones first."""
    path = [step.task.id for step in workflow.critical_path]
    failed = (node.task for _, node in nodes if has_failed(node.task))
    important = [
        *([] if requested_id is None else [requested_id]),
        *(each.task.id for each in workflow.held_up_by[:MAX_OF_A_KIND]),
        *(*path[-MAX_OF_A_KIND:], *path[:MAX_OF_A_KIND]),
        *islice((task.id for task in failed if not task.not_run), MAX_OF_A_KIND),
    ]
    yield from important
    parents = {
        child.task.id: node.task.id for _, node in nodes for child in node.children
    }
    reached = {*important}
    for id in important:
        above = parents.get(id)
        for _ in range(MAX_OF_A_KIND):
            if above is not None:
                yield above
                reached.add(above)
                above = parents.get(above)
    first = {node.task.id for node in workflow.roots[:MAX_OF_A_KIND]}
    for _, node in nodes:
        id = node.task.id
        if id in first:
            yield id
            reached.add(id)
        if id in reached:
            first.update(child.task.id for child in node.children[:MAX_OF_A_KIND])

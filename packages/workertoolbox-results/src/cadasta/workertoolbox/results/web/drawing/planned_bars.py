"""Where the bars of planned steps are: beside each other, beyond the present."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from cadasta.workertoolbox.results._database.statuses import PLANNED
from cadasta.workertoolbox.results._workflows.workflow import WorkflowNode

#: The width of the axis of an unfinished workflow up to the present, in percent: the
#: planned steps are beyond it.
KNOWN_WIDTH = 88.0

#: Maximum number of planned steps in a row that are drawn beside each other.
_MAX_PLANNED = 6


def find_planned_bars(
    nodes: Sequence[tuple[int, WorkflowNode]],
) -> Mapping[str, tuple[float, float]]:
    """Return the place and the width of the bar of each planned step, in percent.

    Args:
        nodes: All nodes of a workflow with their depth, parents before children.
    """
    orders = dict(_orders(nodes))
    number = min(max(orders.values(), default=0) + 1, _MAX_PLANNED)
    width = (100 - KNOWN_WIDTH) / number
    return {
        id: (
            round(KNOWN_WIDTH + min(order, number - 1) * width, 2),
            round(width * 0.85, 2),
        )
        for id, order in orders.items()
    }


def _orders(
    nodes: Sequence[tuple[int, WorkflowNode]],
) -> Iterator[tuple[str, int]]:
    """Yield how many planned steps are before each planned step.

    A planned body of a chord is the last of its siblings, and follows all that is
    beneath them.
    """
    above: list[int] = []
    latest: list[int] = []
    for depth, node in nodes:
        if node.task.status != PLANNED and not node.children:
            continue  # Nothing comes after it.
        del above[depth:]
        for order in latest[depth + 1 :]:
            latest[depth] = max(latest[depth], order)
        del latest[depth + 1 :]
        if len(latest) <= depth:
            latest += [-1] * (depth + 1 - len(latest))
        before = above[-1] if above else -1
        if node.task.status != PLANNED:
            above.append(before)
            continue
        order = before + 1
        if node.header_id is not None:
            order = max(order, latest[depth] + 1)
        latest[depth] = max(latest[depth], order)
        above.append(order)
        yield node.task.id, order

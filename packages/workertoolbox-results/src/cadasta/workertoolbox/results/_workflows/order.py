"""Topological order of the nodes of a graph."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from typing import TypeVar

Node = TypeVar("Node", bound=Hashable)


def in_topological_order(
    nodes: Iterable[Node], needs: Callable[[Node], Sequence[Node]]
) -> Iterator[Node]:
    """Yield nodes, and all that they need, each once and after what it needs.

    A cycle is cut: one of its nodes is yielded before a node that it needs.
    """
    entered: set[Node] = set()
    done: set[Node] = set()
    for start in nodes:
        pending = [start]
        while pending:
            node = pending[-1]
            missing = () if node in entered else needs(node)
            entered.add(node)
            missing = [each for each in missing if each not in entered]
            if missing:
                pending += missing
                continue
            pending.pop()
            if node not in done:
                done.add(node)
                yield node

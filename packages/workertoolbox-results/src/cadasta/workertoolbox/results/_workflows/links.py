"""How the tasks of a workflow depend on each other.

A task follows the task that has published it: its parent, in Celery's protocol 2. The
next step of a chain is published by the step before it, and the body of a chord by the
task of its header that ends last. The body is planned until then, and follows the whole
header.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from cadasta.workertoolbox.results._database.statuses import PLANNED
from cadasta.workertoolbox.results._database.types import NEVER
from cadasta.workertoolbox.results._task import Task
from cadasta.workertoolbox.results._workflows.order import in_topological_order

#: Maximum number of levels above a header that are searched for the place of its body.
MAX_LEVELS = 1000


@dataclass(frozen=True, slots=True)
class Links:
    """The tasks of a workflow, and what each follows.

    Attributes:
        tasks: The tasks by their ids, oldest first.
        parents: For each task, the task beneath which the tree shows it, or None. A
            planned body of a chord is shown beside the tasks of its header. There are
            no cycles.
        header_ids: For each planned body of a chord, the id of the group that is its
            header.
        members: For each group, its tasks. Celery gives the body of a chord the group
            of its header too (`chord.run` in its `canvas.py`); it is not a member.
        children: The children of each task that has some, and under None the tasks at
            the top. Planned bodies of chords are last, as they are after their header.
    """

    tasks: Mapping[str, Task]
    parents: Mapping[str, str | None]
    header_ids: Mapping[str, str]
    members: Mapping[str, Sequence[str]]
    children: Mapping[str | None, Sequence[str]]

    @classmethod
    def of(cls, tasks: Iterable[Task], header_ids: Mapping[str, str]) -> Links:
        """Return the links of the tasks of a workflow.

        Args:
            tasks: All tasks, oldest first.
            header_ids: For each announced body of a chord, the group that it follows.
        """
        known = {task.id: task for task in tasks}
        header_ids = {
            id: header_ids[id]
            for id, task in known.items()
            if task.status == PLANNED and id in header_ids
        }
        parents = without_cycles(known, _known_parents(known, header_ids))
        roots: dict[str, str] = {}
        members: dict[str, list[str]] = defaultdict(list)
        if header_ids or any(task.group_id for task in known.values()):
            for id, root_id, is_member in _walk(known, parents, header_ids):
                roots[id] = root_id
                group_id = known[id].group_id
                if is_member and group_id is not None:
                    members[group_id].append(id)
        if header_ids:
            forest = _Forest(parents, roots, header_ids, members)
            parents = without_cycles(known, {**parents, **forest.place_bodies()})
        children = _children(parents, header_ids)
        return cls(known, parents, header_ids, members, children)

    def in_order(self) -> Iterator[str]:
        """Yield the ids of the tasks, parents before children."""
        children = self.children
        pending = [*reversed(children.get(None, ()))]
        while pending:
            id = pending.pop()
            yield id
            if id in children:
                pending += reversed(children[id])


@dataclass(frozen=True, slots=True)
class _Forest:
    """The trees of a workflow in which planned bodies of chords are still roots."""

    parents: Mapping[str, str | None]
    roots: Mapping[str, str]
    header_ids: Mapping[str, str]
    members: Mapping[str, Sequence[str]]

    def place_bodies(self) -> Mapping[str, str | None]:
        """Return for each planned body the nearest task above all of its header."""
        placed: dict[str, str | None] = {}
        for header_id in in_topological_order(
            dict.fromkeys(self.header_ids.values()), self._inner_headers
        ):
            placed[header_id] = self._lowest(self._above(header_id, placed), placed)
        return {id: placed[header_id] for id, header_id in self.header_ids.items()}

    def _inner_headers(self, header_id: str) -> Sequence[str]:
        """Return the headers of the chords that a header contains."""
        roots = dict.fromkeys(self.roots[id] for id in self.members.get(header_id, ()))
        return [self.header_ids[id] for id in roots if id in self.header_ids]

    def _above(
        self, header_id: str, placed: Mapping[str, str | None]
    ) -> Sequence[str | None]:
        """Return the tasks that are directly above the tasks of a header.

        A task of the header may be below the body of a chord in the header. Then the
        place of that body counts, unless all of them are below the same one.
        """
        members = self.members.get(header_id, ())
        roots = {self.roots[id] for id in members}
        above = (
            placed.get(self.header_ids[self.roots[id]])
            if len(roots) > 1 and self.roots[id] in self.header_ids
            else self.parents[id]
            for id in members
        )
        return [*dict.fromkeys(above)]

    def _lowest(
        self, above: Sequence[str | None], placed: Mapping[str, str | None]
    ) -> str | None:
        """Return the lowest task that is above or equal to each of some tasks."""
        if len(above) < 2:
            return next(iter(above), None)
        trail = [*self._climb(above[0], placed)]
        heights = {id: height for height, id in enumerate(trail)}
        lowest = 0
        for id in above[1:]:
            climbed = []
            for each in self._climb(id, placed):
                if each in heights:
                    break
                climbed.append(each)
            lowest = max(lowest, heights[each])
            heights.update(dict.fromkeys(climbed, heights[each]))
        return trail[lowest]

    def _climb(
        self, id: str | None, placed: Mapping[str, str | None]
    ) -> Iterator[str | None]:
        """Yield a task and the tasks above it, of many only the lowest; then None."""
        for _ in range(MAX_LEVELS):
            if id is None:
                break
            yield id
            header_id = self.header_ids.get(id)
            id = self.parents[id] if header_id is None else placed.get(header_id)
        yield None


def without_cycles(
    tasks: Mapping[str, Task], parents: Mapping[str, str | None]
) -> dict[str, str | None]:
    """Return parents without cycles: the task that was published first has none.

    A task that replaces itself with a workflow gets its id back as the last step, so
    that its parent is one of its own descendants. Forged messages can have cycles too.
    """
    acyclic: dict[str, str | None] = {}
    for start in tasks:
        if start in acyclic:
            continue
        id = parents[start]
        if id is None or id in acyclic:  # As of most, because parents are older.
            acyclic[start] = id
            continue
        path = {start: None}
        while id is not None and id not in acyclic and id not in path:
            path[id] = None
            id = parents[id]
        first = None
        if id in path:
            steps = [*path]
            cycle = steps[steps.index(id) :]
            first = min(cycle, key=lambda each: tasks[each].scheduled_at or NEVER)
        for each in path:
            acyclic[each] = None if each == first else parents[each]
    return {id: acyclic[id] for id in tasks}


def _children(
    parents: Mapping[str, str | None], header_ids: Mapping[str, str]
) -> Mapping[str | None, Sequence[str]]:
    """Return the children of each task; bodies of chords are last."""
    found: dict[str | None, list[str]] = defaultdict(list)
    for id, parent_id in parents.items():
        if id not in header_ids:
            found[parent_id].append(id)
    for id in filter(header_ids.__contains__, parents):
        found[parents[id]].append(id)
    return {**found}


def _known_parents(
    tasks: Mapping[str, Task], header_ids: Mapping[str, str]
) -> dict[str, str | None]:
    """Return the parent of each task if it is one of the tasks."""
    return {
        id: task.parent_id if task.parent_id in tasks and id not in header_ids else None
        for id, task in tasks.items()
    }


def _walk(
    tasks: Mapping[str, Task],
    parents: Mapping[str, str | None],
    header_ids: Mapping[str, str],
) -> Iterator[tuple[str, str, bool]]:
    """Yield each task with its root, and whether it is a member of its group.

    A task below a task of a group, or below its planned body, is not a member, even if
    it has the id of the group.
    """
    children: dict[str | None, list[str]] = defaultdict(list)
    for id, parent_id in parents.items():
        children[parent_id].append(id)
    groups_above: dict[str | None, int] = defaultdict(int)
    pending = [(id, id, True) for id in reversed(children[None])]
    while pending:
        id, root_id, is_entered = pending.pop()
        group_id, header_id = tasks[id].group_id, header_ids.get(id)
        if not is_entered:
            groups_above[group_id] -= 1
            groups_above[header_id] -= 1
            continue
        is_member = header_id != group_id and not groups_above[group_id]
        yield id, root_id, is_member
        below = children.get(id)
        if below:
            groups_above[group_id] += 1
            groups_above[header_id] += 1
            pending.append((id, root_id, False))
            pending += ((child, root_id, True) for child in reversed(below))

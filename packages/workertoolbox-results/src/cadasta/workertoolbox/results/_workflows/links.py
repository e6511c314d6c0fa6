"""How the tasks of a workflow depend on each other.

A task follows the task that has published it: its parent, in Celery's protocol 2. The
next step of a chain is published by the step before it, and the body of a chord by the
task of its header that ends last. The body is planned until then, and follows the whole
header.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from cadasta.workertoolbox.results._database.statuses import PLANNED
from cadasta.workertoolbox.results._task import Task

#: The time of publication of a task that is not published yet.
NEVER = datetime.max.replace(tzinfo=UTC)


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
    """

    tasks: Mapping[str, Task]
    parents: Mapping[str, str | None]
    header_ids: Mapping[str, str]
    members: Mapping[str, Sequence[str]]

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
        for id, root_id, is_member in _walk(known, parents, header_ids):
            roots[id] = root_id
            group_id = known[id].group_id
            if is_member and group_id is not None:
                members[group_id].append(id)
        forest = _Forest(parents, roots, header_ids, members)
        placed = {id: forest.place(header_id) for id, header_id in header_ids.items()}
        parents = without_cycles(known, {**parents, **placed})
        return cls(known, parents, header_ids, members)

    def children(self) -> Mapping[str | None, Sequence[str]]:
        """Return the children of each task, and under None the tasks at the top.

        Planned bodies of chords are last, as they are after their header.
        """
        found: dict[str | None, list[str]] = defaultdict(list)
        for is_body in (False, True):
            for id, parent_id in self.parents.items():
                if (id in self.header_ids) == is_body:
                    found[parent_id].append(id)
        return found

    def in_order(self) -> Iterator[str]:
        """Yield the ids of the tasks, parents before children."""
        children = self.children()
        pending = [*reversed(children.get(None, ()))]
        while pending:
            id = pending.pop()
            yield id
            pending += reversed(children.get(id, ()))


@dataclass(frozen=True, slots=True)
class _Forest:
    """The trees of a workflow in which planned bodies of chords are still roots."""

    parents: Mapping[str, str | None]
    roots: Mapping[str, str]
    header_ids: Mapping[str, str]
    members: Mapping[str, Sequence[str]]

    def place(self, header_id: str) -> str | None:
        """Return the nearest task that is above all tasks of a header.

        A task of the header may itself be below another planned body, which is beside
        the tasks of its own header.
        """
        members = [*self.members.get(header_id, ())]
        replaced: set[str] = set()
        while len(roots := {self.roots[id] for id in members}) > 1:
            inner = {id for id in roots if id in self.header_ids} - replaced
            if not inner:
                return None
            replaced |= inner
            members = [id for id in members if self.roots[id] not in inner]
            for id in sorted(inner):
                members += self.members.get(self.header_ids[id], ())
        return self._lowest_above(members)

    def _lowest_above(self, ids: Sequence[str]) -> str | None:
        """Return the lowest task above some tasks of one tree."""
        above = [*dict.fromkeys(self.parents[id] for id in ids)]
        if len(above) < 2:
            return next(iter(above), None)
        trail: list[str | None] = []
        id = above[0]
        while id is not None:
            trail.append(id)
            id = self.parents[id]
        heights = {id: height for height, id in enumerate([*trail, None])}
        lowest = 0
        for id in above[1:]:
            climbed = []
            while id not in heights:
                climbed.append(id)
                id = self.parents[id] if id is not None else None
            lowest = max(lowest, heights[id])
            heights.update(dict.fromkeys(climbed, heights[id]))
        return [*trail, None][lowest]


def without_cycles(
    tasks: Mapping[str, Task], parents: Mapping[str, str | None]
) -> dict[str, str | None]:
    """Return parents without cycles: the task that was published first has none.

    A task that replaces itself with a workflow gets its id back as the last step, so
    that its parent is one of its own descendants. Forged messages can have cycles too.
    """
    acyclic: dict[str, str | None] = {}
    for start in tasks:
        path: dict[str, None] = {}
        id: str | None = start
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
    groups_above: Counter[str | None] = Counter()
    pending = [(id, id, True) for id in reversed(children[None])]
    while pending:
        id, root_id, is_entered = pending.pop()
        own = {tasks[id].group_id, header_ids.get(id)}
        if not is_entered:
            groups_above.subtract(own)
            continue
        group_id = tasks[id].group_id
        is_body = header_ids.get(id) == group_id
        yield id, root_id, not is_body and not groups_above[group_id]
        groups_above.update(own)
        pending.append((id, root_id, False))
        pending += ((child, root_id, True) for child in reversed(children[id]))

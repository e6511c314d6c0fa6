"""Why a step of a workflow has not been published: which step holds it up."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from celery import states
from sqlalchemy import Connection, or_, select

from cadasta.workertoolbox.results._database.statuses import ENDED, PLANNED
from cadasta.workertoolbox.results._database.tables import chord, chord_part, planned
from cadasta.workertoolbox.results._number_text import counted
from cadasta.workertoolbox.results._store.rows.reading import read_tasks
from cadasta.workertoolbox.results._store.rows.task_rows import Detail
from cadasta.workertoolbox.results._store.why.case import Case
from cadasta.workertoolbox.results._store.why.reason import (
    Cause,
    Explained,
    Finding,
)
from cadasta.workertoolbox.results._store.why.unseen import explain_missing_message
from cadasta.workertoolbox.results._task import Task
from cadasta.workertoolbox.results._workflows.predecessors import (
    Predecessors,
    find_holder,
    find_predecessors,
)

#: Maximum number of levels of a workflow that are counted.
MAX_LEVELS = 1000

#: Maximum number of ids in the evidence.
MAX_IDS = 20

#: Seconds after the end of a step until the message of the next one is missed.
PATIENCE_S = 60.0


class _Workflow:
    """The part of a workflow that is before a planned step; each task is read once."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._before: dict[str, Predecessors] = {}
        self.tasks: dict[str, Task] = {}

    def before(self, id: str) -> Predecessors:
        """Return what a step follows."""
        if id not in self._before:
            found = find_predecessors(self._connection, [id])
            self._before[id] = found.get(id, Predecessors())
        return self._before[id]

    def statuses(self, ids: Sequence[str]) -> Mapping[str, str]:
        """Return the statuses of tasks by id."""
        missing = [id for id in ids if id not in self.tasks]
        for task in read_tasks(self._connection, missing, detail=Detail.BRIEF):
            self.tasks[task.id] = task
        return {id: self.tasks[id].status for id in ids if id in self.tasks}

    def level(self, id: str) -> int:
        """Return the level of a task in the workflow: 1 for the first."""
        seen = {id}
        self.statuses([id])
        while len(seen) < MAX_LEVELS:
            task = self.tasks.get(id)
            parent_id = task.parent_id if task else None
            if parent_id is None or parent_id in seen:
                break
            id = parent_id
            seen.add(id)
            self.statuses([id])
        return len(seen)


def explain_plan(
    case: Case, explain_other: Callable[[str, Task], Explained | None]
) -> Finding:
    """Return why a step has not been published.

    Args:
        explain_other: Explains the step that holds it up, which was read without its
            result.
    """
    workflow = _Workflow(case.connection)
    id = case.task.id
    path = find_holder(id, before=workflow.before, statuses=workflow.statuses)
    if len(path) == 1 or workflow.tasks[path[-1]].status == PLANNED:
        words = "is a step that a message has announced, and the step before it is not "
        words += "known: it was purged, or its message has not been seen"
        return Finding(Cause.STEP_UNKNOWN, words, {})
    holder, following = path[-1], path[-2]
    step = workflow.level(holder)
    evidence: dict[str, Any] = {
        "step": step,
        "steps": step + len(path) - 1 + _levels_below(case),
        "held_up_by": holder,
    }
    header = workflow.before(following)
    if header.header_id is not None:
        evidence |= _read_chord(case.connection, workflow, header)
    if workflow.tasks[holder].status == states.SUCCESS:
        return _unseen(case, workflow, path, evidence)
    because = explain_other(holder, workflow.tasks[holder])
    if because is None:
        return Finding(Cause.STEP_UNKNOWN, "waits for an unknown step", evidence)
    return _held_up(workflow.tasks[holder], because, evidence)


def _held_up(holder: Task, because: Explained, evidence: dict[str, Any]) -> Finding:
    place = f"step {evidence['step']} of {evidence['steps']}"
    which = f"{because.label}, which {because.finding.predicate}"
    if holder.status in ENDED and holder.status != states.IGNORED:
        words = f"is not published, because of {place}, {which}"
        return Finding(Cause.NOT_RUN, words, evidence, because)
    if "chord_id" not in evidence:
        return Finding(Cause.STEP, f"waits for {place}, {which}", evidence, because)
    size, lacking = evidence["chord_size"], evidence["chord_lacking"]
    words = f"waits for a chord at {place}, in which {size - lacking} of "
    words += counted(size, "task has", "tasks have")
    words += f" succeeded: it lacks {which}"
    if lacking > 1:
        words += f"; it also lacks {counted(lacking - 1, 'other task')}"
    return Finding(Cause.CHORD, words, evidence, because)


def _unseen(
    case: Case, workflow: _Workflow, path: Sequence[str], evidence: dict[str, Any]
) -> Finding:
    """Explain a step whose message is missing, although all before it succeeded."""
    if evidence.get("chord_unseen"):
        return _unseen_header(case, evidence)
    uncounted = evidence.get("chord_uncounted")
    if uncounted:
        words = "waits for a chord whose tasks have all succeeded, but "
        words += counted(len(uncounted), "of them is", "of them are")
        words += f" not counted, such as {uncounted[0]}: its worker died, or does not "
        words += "use the toolbox"
        return Finding(Cause.CHORD_UNCOUNTED, words, evidence)
    last = workflow.tasks[path[-1]]
    ended_at = last.finished_at
    evidence["ended_at"] = ended_at
    when = "" if ended_at is None else f" at {case.clock.shown(ended_at)}"
    label = f"{last.name or 'task'}[{last.id}]"
    words = f"follows step {evidence['step']} of {evidence['steps']}, {label}, which "
    words += f"succeeded{when}, and the message of the next step has not been seen"
    missing = explain_missing_message(case.connection, case.clock, words)
    if missing is not None:
        known = {**evidence, **missing.evidence}
        return Finding(missing.cause, missing.predicate, known)
    if ended_at is not None and case.clock.since_s(ended_at) <= PATIENCE_S:
        return Finding(Cause.STEP, words + " yet", evidence)
    words += ": the worker could not publish it, or its copy was lost"
    return Finding(Cause.STEP_UNSEEN, words, evidence)


def _unseen_header(case: Case, evidence: dict[str, Any]) -> Finding:
    """Explain a step after a header whose other tasks have all succeeded."""
    number = counted(evidence["chord_unseen"], "task")
    words = f"waits for a chord with {number} that no monitor has seen"
    missing = explain_missing_message(case.connection, case.clock, words)
    if missing is None:
        return Finding(Cause.CHORD, words, evidence)
    return Finding(missing.cause, missing.predicate, {**evidence, **missing.evidence})


def _read_chord(
    connection: Connection, workflow: _Workflow, header: Predecessors
) -> dict[str, Any]:
    """Return what is known of a chord whose body has not started."""
    statuses = workflow.statuses(header.ids)
    lacking = [id for id, status in statuses.items() if status != states.SUCCESS]
    row = connection.execute(
        select(chord.c.size, chord.c.added).where(chord.c.id == header.header_id)
    ).first()
    counted_ids: Collection[str] = connection.scalars(
        select(chord_part.c.task_id).where(chord_part.c.chord_id == header.header_id)
    ).all()
    size = len(header.ids)
    uncounted: list[str] = []
    if row is not None:
        size = max(size, (row.size or 0) + row.added)
        uncounted = sorted({*header.ids} - {*counted_ids} - {*lacking})
    return {
        "chord_id": header.header_id,
        "chord_size": size,
        "chord_lacking": size - len(header.ids) + len(lacking),
        "chord_lacking_ids": sorted(lacking)[:MAX_IDS],
        "chord_unseen": size - len(header.ids),
        "chord_uncounted": uncounted[:MAX_IDS],
        "chord_statuses": dict(Counter(statuses.values())),
    }


def _levels_below(case: Case) -> int:
    """Return how many levels of planned steps follow a step."""
    columns, step = planned.c, case.task
    groups = [] if step.group_id is None else [step.group_id]
    ids, seen, levels = [step.id], {step.id}, 0
    while ids and levels < MAX_LEVELS:
        query = select(columns.id, columns.group_id).where(
            or_(columns.parent_id.in_(ids), columns.header_id.in_(groups))
        )
        rows = case.connection.execute(query.limit(MAX_LEVELS)).all()
        ids = [row.id for row in rows if row.id not in seen]
        groups = [row.group_id for row in rows if row.group_id is not None]
        seen.update(ids)
        levels += bool(ids)
    return levels

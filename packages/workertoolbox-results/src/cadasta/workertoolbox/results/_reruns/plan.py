"""Which of several tasks an operation would publish, and which it would refuse."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import NamedTuple

from celery import Celery

from cadasta.workertoolbox.results._reruns.journal import Entry
from cadasta.workertoolbox.results._reruns.rules import find_refusal
from cadasta.workertoolbox.results._store.operations.journal import (
    BATCH_SIZE,
    PUBLISHED,
    OperationTask,
)
from cadasta.workertoolbox.results._store.store import TaskStore
from cadasta.workertoolbox.results._store.tasks.stored_calls import StoredCall
from cadasta.workertoolbox.results._task import Task

#: The end of a refusal that `again` lifts.
_SEE_AGAIN = "; see --again"


@dataclass(frozen=True, slots=True)
class PlannedRerun:
    """A task that is to be published again, or why it cannot be.

    Attributes:
        task: The task, without arguments and result.
        refusal: Why it cannot be published again; None if it can.
        follows: What its message says of further steps, such as `chain` or `chord`;
            they are not published again, except with `failed-steps`.
    """

    task: Task
    refusal: str | None = None
    follows: Sequence[str] = ()

    @property
    def is_step(self) -> bool:
        """Whether it is a step of a workflow."""
        return bool(self.follows or self.task.group_id or self.task.parent_id)

    @property
    def was_rerun(self) -> bool:
        """Whether it is refused because another operation has published it."""
        return (self.refusal or "").endswith(_SEE_AGAIN)


class TaskKind(NamedTuple):
    """Tasks with the same name, queue and status, and their number."""

    name: str | None
    queue: str | None
    status: str
    tasks: int


class Refusal(NamedTuple):
    """Tasks that cannot be published again, for one reason."""

    reason: str
    ids: Sequence[str]


@dataclass(frozen=True, slots=True)
class RerunPlan:
    """What an operation would do.

    Attributes:
        tasks: The tasks, in the order in which they are published.
        kind: `rerun`, or `failed-steps` if the steps after them are published, too.
        made_at: A time before the tasks were read. What other operations publish later
            is not known.
    """

    tasks: Sequence[PlannedRerun]
    kind: str = "rerun"
    made_at: datetime = field(default_factory=lambda: datetime.now(UTC))

    @property
    def allowed(self) -> Sequence[PlannedRerun]:
        """The tasks that can be published again."""
        return [each for each in self.tasks if each.refusal is None]

    @property
    def refused(self) -> Sequence[PlannedRerun]:
        """The tasks that cannot be published again."""
        return [each for each in self.tasks if each.refusal is not None]

    @property
    def kinds(self) -> Sequence[TaskKind]:
        """The tasks that can be published again, counted by name, queue and status."""
        counts = Counter(
            (each.task.name, each.task.queue, each.task.status) for each in self.allowed
        )
        ordered = sorted(counts.items(), key=lambda item: tuple(map(str, item[0])))
        return [TaskKind(*key, number) for key, number in ordered]

    @property
    def refusals(self) -> Sequence[Refusal]:
        """The tasks that cannot be published again, by the reason."""
        found: dict[str, list[str]] = defaultdict(list)
        for each in self.refused:
            found[each.refusal or ""].append(each.task.id)
        return [Refusal(reason, ids) for reason, ids in found.items()]

    def entries(self) -> Sequence[Entry]:
        """Return the entries of the journal."""
        return [
            Entry(each.task.id, each.task.name, each.refusal) for each in self.tasks
        ]


def plan_rerun(
    app: Celery,
    store: TaskStore,
    ids: Collection[str],
    *,
    again: bool = False,
    kind: str = "rerun",
    rule: Callable[[StoredCall], str | None] = lambda call: None,
) -> RerunPlan:
    """Return which tasks can be published again, and why others cannot.

    Args:
        app: The app that would publish them.
        store: The database with the tasks.
        ids: Ids of the tasks; those that the database does not know are left out.
        again: Whether to publish tasks that another operation has published already.
        kind: The kind of the operation.
        rule: A further rule: returns why a task cannot be published.

    Raises:
        DatabaseUnavailable: The database cannot be reached or refuses the query.
    """
    wanted, made_at = [*dict.fromkeys(ids)], datetime.now(UTC)
    tasks = [*_planned(app, store, wanted, rule, again=again)]
    return RerunPlan(tasks, kind, made_at)


def _planned(
    app: Celery,
    store: TaskStore,
    ids: Sequence[str],
    rule: Callable[[StoredCall], str | None],
    *,
    again: bool,
) -> Iterator[PlannedRerun]:
    for start in range(0, len(ids), BATCH_SIZE):
        some = ids[start : start + BATCH_SIZE]
        reruns = {} if again else store.reruns(some)
        for call in store.stored_calls(some, brief=True):
            refusal = (
                find_refusal(app, call)
                or find_other(reruns, call.task.id)
                or rule(call)
            )
            yield PlannedRerun(call.task, refusal, call.options.get("follows", ()))


def find_other(reruns: Mapping[str, Sequence[OperationTask]], id: str) -> str | None:
    """Return which other operation has published a task, or is about to."""
    for each in reversed(reruns.get(id, ())):
        if each.state == PUBLISHED:
            return f"operation {each.operation_id} has rerun it{_SEE_AGAIN}"
        return f"operation {each.operation_id}, which has not ended, contains it"
    return None

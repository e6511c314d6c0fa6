"""Publishing of tasks again, one after the other, so that none is published twice.

For each task, three steps follow each other: the journal says `publishing`, the broker
gets the message, the journal says `published`. A process that is killed leaves at most
one task with `publishing`. Its id is derived from the operation and the task, so that
the database shows whether the message was sent, and a second message would have the
same id.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Generator, Iterator
from datetime import UTC, datetime, timedelta

from celery import Celery

from cadasta.workertoolbox.results._errors import StillPublishing, UnreadMessages
from cadasta.workertoolbox.results._monitor.stored_arguments import digest
from cadasta.workertoolbox.results._reruns import headers, journal
from cadasta.workertoolbox.results._reruns.messages import name_of
from cadasta.workertoolbox.results._reruns.pace import Pace
from cadasta.workertoolbox.results._reruns.plan import RerunPlan, plan_rerun
from cadasta.workertoolbox.results._reruns.publisher import open_publisher
from cadasta.workertoolbox.results._reruns.rules import find_refusal
from cadasta.workertoolbox.results._reruns.steps import KIND as STEPS
from cadasta.workertoolbox.results._reruns.steps import find_obstacle
from cadasta.workertoolbox.results._store.operations.journal import (
    PUBLISHED,
    PUBLISHING,
    REFUSED,
    WAITING,
    Operation,
    OperationTask,
)
from cadasta.workertoolbox.results._store.operations.rows import new_key
from cadasta.workertoolbox.results._store.store import TaskStore
from cadasta.workertoolbox.results._store.tasks.stored_calls import StoredCall

#: The default rate per second.
DEFAULT_RATE = 10.0

#: Number of tasks that are read at once: few, because their rules are checked when they
#: are read, and at a low rate the last of them is published much later.
READ_AHEAD = 20

#: How far the clocks of this host and of the monitors may differ.
CLOCK_SKEW = timedelta(seconds=2)

#: How long a process may take to publish a task: more than Celery takes to connect, and
#: to send a message again.
LEASE = timedelta(seconds=10)


def rerun(
    app: Celery,
    store: TaskStore,
    ids: Collection[str],
    *,
    made_by: str | None = None,
    reason: str | None = None,
    per_s: float = DEFAULT_RATE,
    again: bool = False,
    should_stop: Callable[[], bool] = lambda: False,
) -> Iterator[OperationTask]:
    """Publish tasks again, and yield what became of each.

    Nothing is published before the first value is requested. An operation that is not
    iterated to its end can be continued with `resume_rerun`.

    Example:
        Run the failed exports of the last hour again::

            failed = store.search("name:export.* status:failure", since=an_hour_ago)
            ids = [task.id for task in failed.tasks]
            for outcome in rerun(app, store, ids, reason="the server was down"):
                print(outcome.task_id, outcome.state, outcome.new_id, outcome.note)

    Args:
        app: The app that publishes them; their queues must be declared in it.
        store: The database with the tasks. Its role also needs the right to write
            `workertoolbox_operation` and `workertoolbox_operation_task`.
        ids: Ids of the tasks, in the order in which they are published.
        made_by: Who runs them again; by default the user and the host of the process.
        reason: Why.
        per_s: Maximum number of messages per second.
        again: Whether to publish tasks that another operation has published already.
        should_stop: Called before each task; returns whether to stop.

    Raises:
        BrokerUnavailable: The broker cannot be reached. The error says how to go on.
        DatabaseUnavailable: The database cannot be reached or refuses a statement.
    """
    plan = plan_rerun(app, store, ids, again=again)
    if not plan.tasks:
        return
    id = begin_rerun(store, plan, made_by=made_by, reason=reason)
    yield from entries_of(store, id, {REFUSED})
    yield from resume_rerun(app, store, id, per_s=per_s, should_stop=should_stop)


def begin_rerun(
    store: TaskStore,
    plan: RerunPlan,
    *,
    made_by: str | None = None,
    reason: str | None = None,
    selection: str | None = None,
    id: str | None = None,
) -> str:
    """Store an operation, and return its key; `resume_rerun` publishes its tasks.

    Example:
        Run the failed steps of a workflow again, with the steps after them::

            plan = plan_failed_steps(app, store, root_id)
            print(*(each.refusal for each in plan.refused))
            operation_id = begin_rerun(store, plan, reason="the server was down")
            for outcome in resume_rerun(app, store, operation_id):
                print(outcome.task_id, outcome.state)

    Args:
        store: As for `rerun`.
        plan: The tasks.
        made_by: As for `rerun`.
        reason: As for `rerun`.
        selection: How the tasks were selected; by default, by their ids.
        id: The key, which no other operation has; by default, a new one.

    Raises:
        DatabaseUnavailable: The database cannot be reached or refuses a statement.
    """
    id = id or new_key()
    journal.begin(
        store.engine,
        plan.entries(),
        timeout_s=store.timeout_s,
        id=id,
        planned_at=plan.made_at,
        kind=plan.kind,
        made_by=made_by,
        reason=reason,
        selection=selection or " ".join(each.task.id for each in plan.tasks),
    )
    return id


def resume_rerun(
    app: Celery,
    store: TaskStore,
    operation_id: str,
    *,
    per_s: float = DEFAULT_RATE,
    doubtful: bool = False,
    should_stop: Callable[[], bool] = lambda: False,
) -> Iterator[OperationTask]:
    """Publish those tasks of an operation that it has not published yet.

    A task is doubtful if the operation was killed while it was published, or if the
    broker did not confirm it. If the database knows its new id, it was published.
    Otherwise it is yielded with the state `publishing`, and stays doubtful.

    Args:
        app: As for `rerun`.
        store: As for `rerun`.
        operation_id: Key of the operation.
        per_s: As for `rerun`.
        doubtful: Whether to publish doubtful tasks that the database does not know. If
            a first message was sent after all, this is a second one with the same id.
            End a process that hangs while it publishes a task first.
        should_stop: As for `rerun`.

    Raises:
        BrokerUnavailable: The broker cannot be reached. The error says how to go on.
        DatabaseUnavailable: The database cannot be reached or refuses a statement.
        OperationNotFound: There is no operation with this key.
        StillPublishing: With `doubtful`, another process has begun to publish one of
            these tasks less than `LEASE` ago.
        UnreadMessages: With `doubtful`, the monitors have not read the messages of the
            time at which a task may have been published.
    """
    operation = store.operation(operation_id)
    states = {PUBLISHING, WAITING} if doubtful else {WAITING}
    again = yield from _settle_doubtful(store, operation_id, publish_others=doubtful)
    if store.operation_tasks(operation_id, states=states, limit=1):
        with open_publisher(app, store, operation) as publish:
            pace = Pace(per_s, should_stop=should_stop)
            for entry, call in _read_calls(store, operation_id, states):
                if entry.state == PUBLISHING and entry not in again:
                    continue  # Another process is publishing it.
                refusal = _find_refusal(app, store, call, operation)
                if refusal is None and not pace.wait():
                    return
                if refusal is None and call is not None and operation.kind == STEPS:
                    refusal = headers.make_chords(store.engine, call, operation_id)
                if call is None or refusal is not None:
                    yield journal.settle(store.engine, entry, REFUSED, refusal)
                elif claimed := journal.claim(store.engine, entry, operation):
                    is_refused = claimed.state == REFUSED
                    yield claimed if is_refused else publish(call, claimed)
    left = store.operation_tasks(operation_id, states={WAITING, PUBLISHING}, limit=1)
    if operation.finished_at is None and not left:
        journal.finish(store.engine, operation_id)


def entries_of(
    store: TaskStore, operation_id: str, states: Collection[str] = ()
) -> Iterator[OperationTask]:
    """Yield the tasks of an operation that are in one of the states.

    Raises:
        DatabaseUnavailable: The database cannot be reached or refuses the query.
    """
    last = -1
    while some := store.operation_tasks(operation_id, states=states, after=last):
        yield from some
        last = some[-1].position


def _settle_doubtful(
    store: TaskStore, operation_id: str, *, publish_others: bool
) -> Generator[OperationTask, None, Collection[OperationTask]]:
    """Yield the doubtful tasks that are not published again; return the others."""
    again = set()
    read_until = store.read_until()
    for entry in [*entries_of(store, operation_id, {PUBLISHING})]:
        is_read = read_until and read_until > entry.changed_at + CLOCK_SKEW
        if store.find(entry.new_id, shortened=True) is not None:
            note = "the database shows that it was published"
            yield journal.settle(store.engine, entry, PUBLISHED, note)
        elif not publish_others:
            yield entry
        elif _is_leased(entry):
            raise StillPublishing(entry.new_id)
        elif not is_read:
            raise UnreadMessages(entry.new_id)
        else:
            again.add(entry)
    return again


def _is_leased(entry: OperationTask) -> bool:
    """Return whether another process may be publishing a task at this moment."""
    if entry.note is not None:
        return False  # That process has stored why the task is in doubt.
    return datetime.now(UTC) < entry.changed_at + LEASE + CLOCK_SKEW


def _read_calls(
    store: TaskStore, operation_id: str, states: Collection[str]
) -> Iterator[tuple[OperationTask, StoredCall | None]]:
    """Yield tasks of an operation, each with its message if the database has it."""
    last = -1
    while some := store.operation_tasks(
        operation_id, states=states, after=last, limit=READ_AHEAD
    ):
        calls = store.stored_calls([each.task_id for each in some])
        by_id = {each.task.id: each for each in calls}
        for entry in some:
            yield entry, by_id.get(entry.task_id)
        last = some[-1].position


def _find_refusal(
    app: Celery, store: TaskStore, call: StoredCall | None, operation: Operation
) -> str | None:
    if call is None:
        return "the database does not have it any more"
    if refusal := find_refusal(app, call):
        return refusal
    task = call.task
    if call.digest != digest(task.args, task.kwargs, task.headers):
        return "its arguments have been replaced by those of another message"
    reruns = store.reruns([task.id]).get(task.id, ())
    others = {each.operation_id: each for each in reruns}
    others.pop(operation.id, None)
    if rival := journal.find_rival(reruns, operation):
        return rival
    if operation.kind == STEPS:
        known = headers.Headers(store.engine, timeout_s=store.timeout_s)
        found = find_obstacle(store, call, known, operation_id=operation.id)
        found = found or headers.find_rival(store.engine, call, operation, others)
        if found is not None:
            return found
    options = {"queue": task.queue, "exchange": "", "routing_key": task.queue}
    try:
        app.amqp.router.route(options, name_of(call), task.args, task.kwargs)
    except Exception as error:  # Routes are functions of users.
        return f"it cannot be routed: {error}"
    return None

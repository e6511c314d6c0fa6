"""Failed tasks of the headers of chords that are published again."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from archiving import archive
from celery import Celery, Signature, _state, chain, chord, group
from celery.app.trace import trace_task
from kombu import Queue
from sqlalchemy import delete, func, select, update
from taken_messages import take

from cadasta.workertoolbox.results import (
    TaskStore,
    begin_rerun,
    plan_failed_steps,
    resume_rerun,
)
from cadasta.workertoolbox.results._backend import chord_progress
from cadasta.workertoolbox.results._database.tables import chord as chord_table
from cadasta.workertoolbox.results._database.tables import chord_part
from cadasta.workertoolbox.results._history.cleanup import delete_chords
from cadasta.workertoolbox.results._history.erase import erase_task
from cadasta.workertoolbox.results._monitor.message import read_task
from cadasta.workertoolbox.results._monitor.upserts import write_batch
from cadasta.workertoolbox.results._reruns.headers import make_chords
from cadasta.workertoolbox.results._reruns.messages import new_id
from cadasta.workertoolbox.results.backend import Backend

FAST = 10_000

Shape = Callable[["Service"], Signature[Any]]


@dataclass
class Service:
    """An app with a monitor and a worker, both in this process.

    Attributes:
        failing: The numbers with which tasks fail.
        bodies: The arguments of the runs of bodies.
    """

    app: Celery
    store: TaskStore
    failing: set[int] = field(default_factory=set)
    bodies: list[Any] = field(default_factory=list)

    def number(self, number: int, **kwargs: Any) -> Signature[Any]:
        return self.app.signature("number", (number,), kwargs, immutable=True)

    def body(self) -> Signature[Any]:
        return self.app.signature("body")

    def run_all(self) -> None:
        """Store and run messages until there are none."""
        while messages := take(self.app):
            records = [read_task(each, seen_at=datetime.now(UTC)) for each in messages]
            with self.store.engine.begin() as connection:
                write_batch(connection, records)
            for each in messages:
                self._run(each)

    def _run(self, message: Any) -> None:
        args, kwargs, embedded = json.loads(message.body)
        task = self.app.tasks[message.headers["task"]]
        delivery = {"exchange": "", "routing_key": "export", "redelivered": False}
        request = {**message.headers, **embedded, "args": args, "kwargs": kwargs}
        request |= {"hostname": "w@h", "is_eager": False, "delivery_info": delivery}
        trace_task(task, request["id"], args, kwargs, request=request, app=self.app)

    def fail(self, signature: Signature[Any], *failing: int) -> str:
        """Run a canvas in which tasks fail, and return the id of one of its tasks."""
        self.failing |= {*failing}
        signature.apply_async()
        messages = take(self.app)
        for each in messages:
            self.publish_again(each)
        self.run_all()
        self.failing.clear()
        return str(messages[0].headers["root_id"])

    def publish_again(self, message: Any) -> None:
        with self.app.connection_for_write() as connection:
            connection.Producer().publish(
                message.body,
                routing_key="export",
                headers=message.headers,
                content_type=message.content_type,
                content_encoding=message.content_encoding,
            )

    def rerun(self, root_id: str) -> str:
        """Rerun the failed steps of a workflow, and return the operation."""
        plan = plan_failed_steps(self.app, self.store, root_id)
        assert not plan.refused
        operation = begin_rerun(self.store, plan)
        [*resume_rerun(self.app, self.store, operation, per_s=FAST)]
        self.run_all()
        return operation

    def refusals(self, root_id: str) -> Mapping[str, str | None]:
        """Return why the failed tasks cannot be run again, by their arguments."""
        plan = plan_failed_steps(self.app, self.store, root_id)
        tasks = {task.id: task for task in self.store.workflow(root_id)}
        return {str(tasks[each.task.id].args): each.refusal for each in plan.tasks}

    def chord_ids(self) -> set[str]:
        with self.store.engine.connect() as connection:
            return {*connection.scalars(select(chord_table.c.id))}


@pytest.fixture
def service(app: Celery, store: TaskStore) -> Iterator[Service]:
    # Workers run with a current app, which chains and groups of steps take.
    other = _state._get_current_app()  # type: ignore[attr-defined]
    app.set_current()
    app.amqp.queues.add(Queue("export"))
    app.conf.task_default_queue = "export"
    made = Service(app, store)

    def number(number: int, **_: Any) -> int:
        if number in made.failing:
            raise ValueError(number)
        return number

    def body(results: Any) -> Any:
        made.bodies.append(results)
        return results

    app.task(name="number", shared=False)(number)
    app.task(name="body", shared=False)(body)
    take(app)
    yield made
    other.set_current()


def two_and_three(service: Service) -> Signature[Any]:
    return chord([service.number(2), service.number(3)], service.body())


SHAPES: Mapping[str, tuple[Shape, tuple[int, ...]]] = {
    "one failed": (lambda s: chord([s.number(n) for n in (1, 2, 3)], s.body()), (2,)),
    "two failed": (lambda s: chord([s.number(n) for n in (1, 2, 3)], s.body()), (1, 3)),
    "all failed": (lambda s: chord([s.number(1), s.number(2)], s.body()), (1, 2)),
    "begin of a chain": (
        lambda s: chord([s.number(1), chain(s.number(2), s.number(3))], s.body()),
        (2,),
    ),
    "end of a chain": (
        lambda s: chord([chain(s.number(2), s.number(3)), s.number(1)], s.body()),
        (3,),
    ),
    "group in the header": (
        lambda s: chord(
            [group(s.number(1), s.number(2)), s.number(3), s.number(4)], s.body()
        ),
        (2, 3),
    ),
    "chord in the header": (
        lambda s: chord(
            [s.number(1), chord([s.number(2), s.number(3)], s.body())], s.body()
        ),
        (3,),
    ),
    "before a chord in a chain in the header": (
        lambda s: chord([chain(s.number(1), two_and_three(s)), s.number(4)], s.body()),
        (1, 4),
    ),
    "chord in a chain in the header": (
        lambda s: chord([chain(s.number(1), two_and_three(s)), s.number(4)], s.body()),
        (2,),
    ),
    "chord after a task": (
        lambda s: chain(
            s.number(1), chord([s.number(2), s.number(3)], s.body()), s.body()
        ),
        (3,),
    ),
    "body with a chain": (
        lambda s: chord([s.number(1), s.number(2)], chain(s.body(), s.body())),
        (2,),
    ),
    "body with a group": (
        lambda s: chord([s.number(1), s.number(2)], group(s.body(), s.body())),
        (2,),
    ),
    "body with a chord": (
        lambda s: chord(
            [s.number(1), s.number(2)], chord([s.body(), s.number(3)], s.body())
        ),
        (2,),
    ),
}


@pytest.mark.parametrize("shape", SHAPES)
def test_each_body_runs_once_with_the_results_of_the_whole_header(
    service: Service, shape: str
) -> None:
    make, failing = SHAPES[shape]
    service.fail(make(service))
    expected = sorted(map(repr, service.bodies))
    service.bodies.clear()
    root_id = service.fail(make(service), *failing)
    before = len(service.bodies)
    service.rerun(root_id)
    tasks = service.store.workflow(root_id)

    assert before < len(service.bodies)
    assert sorted(map(repr, service.bodies)) == expected
    repeated = {each.rerun_of for each in tasks if each.rerun_of}
    failed = {each.id for each in tasks if each.status == "FAILURE"}
    assert repeated == failed
    assert not any(each.status == "PLANNED" for each in tasks)


@pytest.mark.parametrize("number", [1, 2, 3, 4])
def test_each_root_of_a_chord_has_the_whole_workflow_also_in_the_history(
    service: Service, number: int
) -> None:
    make, _ = SHAPES["chord in a chain in the header"]
    service.fail(make(service))
    tasks = {task.id: task for task in service.store.list()}
    [root_id] = [str(task.root_id) for task in tasks.values() if task.args == [number]]
    live = {task.id for task in service.store.workflow(root_id)}
    backend = service.app.backend
    assert isinstance(backend, Backend)
    archive(backend)
    ended = {task.id for task in service.store.workflow(root_id)}

    assert len(tasks) == 6
    assert live == ended == tasks.keys()


def test_a_rerun_that_fails_can_be_run_again(service: Service) -> None:
    header = [service.number(1), service.number(2)]
    root_id = service.fail(chord(header, service.body()), 2)
    service.failing.add(2)
    service.rerun(root_id)
    service.failing.clear()
    plan = plan_failed_steps(service.app, service.store, root_id)
    operation = begin_rerun(service.store, plan)
    [*resume_rerun(service.app, service.store, operation, per_s=FAST)]
    service.run_all()

    assert ["has rerun it" in (each.refusal or "") for each in plan.refused] == [True]
    assert service.bodies == [[1, 2]]


def test_processes_that_share_an_operation_make_one_chord(service: Service) -> None:
    header = [service.number(1), service.number(2)]
    root_id = service.fail(chord(header, service.body()), 1, 2)
    plan = plan_failed_steps(service.app, service.store, root_id)
    operation = begin_rerun(service.store, plan)
    ids = [each.task.id for each in plan.tasks]
    for call in service.store.stored_calls(ids):
        make_chords(service.store.engine, call, operation)
    [*resume_rerun(service.app, service.store, operation, per_s=FAST)]
    service.run_all()

    assert service.bodies == [[1, 2]]
    assert len(service.chord_ids()) == 2


def test_two_operations_do_not_share_the_tasks_of_a_header(service: Service) -> None:
    header = [service.number(1), service.number(2)]
    root_id = service.fail(chord(header, service.body()), 1, 2)
    plans = [plan_failed_steps(service.app, service.store, root_id) for _ in range(2)]
    first, second = (begin_rerun(service.store, plan) for plan in plans)
    runs = [
        resume_rerun(service.app, service.store, each, per_s=FAST)
        for each in (first, second)
    ]
    outcomes = [next(runs[0]), *runs[1], *runs[0]]
    service.run_all()

    assert [each.state for each in outcomes] == [
        *("published", "refused", "refused", "published")
    ]
    assert f"operation {first} has rerun its chord" in (outcomes[2].note or "")
    assert service.bodies == [[1, 2]]


def test_the_other_tasks_of_a_rerun_are_published_although_the_first_chord_is_deleted(
    service: Service,
) -> None:
    header = [service.number(1), service.number(2)]
    root_id = service.fail(chord(header, service.body()), 1, 2)
    plan = plan_failed_steps(service.app, service.store, root_id)
    operation = begin_rerun(service.store, plan)
    has_published = False

    def should_stop() -> bool:
        nonlocal has_published
        has_published, stops = True, has_published
        return stops

    options: Any = {"per_s": FAST, "should_stop": should_stop}
    [_] = resume_rerun(service.app, service.store, operation, **options)
    [old] = service.chord_ids() - {
        new_id(operation, each) for each in service.chord_ids()
    }
    with service.store.engine.begin() as connection:
        connection.execute(delete(chord_table).where(chord_table.c.id == old))
        connection.execute(delete(chord_part).where(chord_part.c.chord_id == old))
    [*resume_rerun(service.app, service.store, operation, per_s=FAST)]
    service.run_all()

    assert service.bodies == [[1, 2]]


def test_a_task_is_refused_if_another_one_of_its_header_cannot_be_run_again(
    service: Service,
) -> None:
    header = [service.number(1), service.number(2), service.number(3, token="t")]
    root_id = service.fail(chord(header, service.body()), 2, 3)
    refusals = service.refusals(root_id)

    assert refusals["[3]"] == "its stored arguments were redacted"
    assert "the header of its chord also needs the result of" in (refusals["[2]"] or "")


def test_tasks_around_a_chord_that_lacks_one_are_refused(service: Service) -> None:
    inner = chord([service.number(1), service.number(2, token="t")], service.body())
    outer = chord([inner, service.number(3)], service.body())
    root_id = service.fail(outer, 1, 2, 3)
    refusals = service.refusals(root_id)

    assert [each for each in refusals.values() if each is None] == []


def test_a_task_of_a_header_that_has_not_ended_is_refused(service: Service) -> None:
    header = [service.number(1), service.number(2)]
    service.failing.add(1)
    chord(header, service.body()).apply_async()
    first, _ = take(service.app)
    service.publish_again(first)
    service.run_all()

    assert service.refusals(first.headers["root_id"]) == {
        "[1]": "it belongs to the header of a chord that has not ended: 1 of 2 tasks "
        "have; try again when the others have ended, or run the workflow again if one "
        "of them was lost or has expired"
    }


def test_a_task_of_a_header_that_is_not_stored_is_refused(service: Service) -> None:
    header = [service.number(1), service.number(2)]
    root_id = service.fail(chord(header, service.body()), 2)
    with service.store.engine.begin() as connection:
        connection.execute(delete(chord_part))
    [lost] = service.refusals(root_id).values()
    assert isinstance(service.app.backend, Backend)
    later = datetime.now(UTC) + timedelta(seconds=1)
    delete_chords(service.app.backend.database, later)
    [expired] = service.refusals(root_id).values()

    assert "a worker with an earlier release ended it" in (lost or "")
    assert "not stored any more (result_expires)" in (expired or "")


def test_a_task_is_refused_if_its_chord_expires_before_it_is_published(
    service: Service,
) -> None:
    header = [service.number(1), service.number(2)]
    root_id = service.fail(chord(header, service.body()), 1, 2)
    plan = plan_failed_steps(service.app, service.store, root_id)
    operation = begin_rerun(service.store, plan)

    def expire() -> bool:
        with service.store.engine.begin() as connection:
            connection.execute(delete(chord_table))
        return False

    options: Any = {"per_s": FAST, "should_stop": expire}
    outcomes = [*resume_rerun(service.app, service.store, operation, **options)]

    assert [each.state for each in outcomes] == ["refused", "refused"]
    assert "not stored any more (result_expires)" in (outcomes[0].note or "")
    assert service.chord_ids() == set()


@pytest.mark.parametrize(
    ("column", "reason"), [("added", "add_to_chord"), ("size", "contains a task twice")]
)
def test_a_header_with_tasks_that_are_not_known_is_refused(
    service: Service, column: str, reason: str
) -> None:
    header = [service.number(1), service.number(2)]
    root_id = service.fail(chord(header, service.body()), 2)
    with service.store.engine.begin() as connection:
        connection.execute(update(chord_table).values({column: 3}))
    [refusal] = service.refusals(root_id).values()

    assert reason in (refusal or "")


def test_a_task_that_the_header_counts_as_successful_is_refused(
    service: Service,
) -> None:
    header = [service.number(1), service.number(2), service.number(3)]
    root_id = service.fail(chord(header, service.body()), 2, 3)
    [second] = [each.id for each in service.store.workflow(root_id) if each.args == [2]]
    part = chord_part.c
    with service.store.engine.begin() as connection:
        statement = update(chord_part).where(part.task_id == second)
        connection.execute(statement.values(status="SUCCESS"))
    refusals = service.refusals(root_id)

    assert "has counted it as successful" in (refusals["[2]"] or "")
    assert refusals["[3]"] is None


def test_an_erased_task_leaves_no_result_in_a_chord_that_has_failed(
    service: Service,
) -> None:
    header = [service.number(1), service.number(2)]
    root_id = service.fail(chord(header, service.body()), 1)
    [second] = [each.id for each in service.store.workflow(root_id) if each.args == [2]]
    [*erase_task(service.store.engine, second)]
    [refusal] = service.refusals(root_id).values()
    with service.store.engine.connect() as connection:
        left = {*connection.scalars(select(chord_part.c.task_id))}

    assert left == {root_id}
    assert "one that `tasks purge` erased" in (refusal or "")


def test_an_erased_task_keeps_its_part_of_a_chord_that_has_not_ended(
    service: Service,
) -> None:
    header = [service.number(1), service.number(2)]
    chord(header, service.body()).apply_async()
    first, second = take(service.app)
    service.publish_again(first)
    service.run_all()
    [*erase_task(service.store.engine, first.headers["id"])]
    service.publish_again(second)
    service.run_all()

    assert service.bodies == [[1, 2]]


def test_a_header_that_is_published_again_does_not_count_the_failed_run(
    backend: Backend,
) -> None:
    database = backend.database
    part = chord_progress.ChordPart("g", "1", 0, "FAILURE", b"{}")
    for _ in range(2):
        chord_progress.create(database, "g", None)
        chord_progress.set_size(database, "g", 1)
        progress, is_new = chord_progress.record_part(database, part)
        assert progress.is_body_due and is_new
        chord_progress.mark_started(database, "g", keep_parts=True)
    with database.connect() as connection:
        count = connection.scalar(select(func.count()).select_from(chord_part))

    assert count == 1

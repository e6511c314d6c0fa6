"""Random steps of a fleet, after each of which the store must agree with the oracle."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, time, timedelta
from typing import Any, ClassVar

import time_machine
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    MultipleResults,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    multiple,
    precondition,
    rule,
)

from state_machine.comparison import (
    differences,
    expected_attempts,
    expected_task,
    shown_attempts,
    shown_task,
)
from state_machine.databases import Fleets
from state_machine.old_release import OldRelease
from state_machine.oracle import Oracle
from state_machine.places import Message, Run
from state_machine.strategies import ENDS, FAR, KILLS, QUEUES, WAITS

SECOND = timedelta(seconds=1)

#: When each example begins: before midnight, and so long ago that it ends before the
#: present, because triggers compare times with the clock of the database.
BEGIN = datetime.combine(
    datetime.now(UTC).date() - timedelta(days=900), time(23, 50), UTC
)

has_tasks = precondition(lambda machine: machine.oracle.tasks and not machine.old)
is_new = precondition(lambda machine: not machine.old)
is_old = precondition(lambda machine: machine.old)


class Machine(RuleBasedStateMachine):
    """Steps of publishers, workers, monitors, archivers and operators.

    Attributes:
        fleets: Where each example gets a fleet with a new database.
        examples: How many examples were run.
        steps: How many steps they took.
    """

    fleets: ClassVar[Fleets]
    examples: ClassVar[int] = 0
    steps: ClassVar[int] = 0

    messages: Bundle[Message] = Bundle("messages")
    runs: Bundle[Run] = Bundle("runs")

    def __init__(self) -> None:
        super().__init__()
        self._travel = time_machine.travel(BEGIN, tick=False)
        self.clock = self._travel.start()
        self.requests: dict[Run, Any] = {}
        self.number = 0
        self.oracle = Oracle(drops_days=False)
        self.fleet: Any = None
        Machine.examples += 1
        self.old: OldRelease | None = None

    @initialize(target=messages, number=st.integers(0, 7))
    def begin(self, number: int) -> MultipleResults[Message]:
        """Begin with three messages, sometimes with a database of the last release."""
        self.fleet = self.fleets.fleet(old=number == 7)
        self.old = OldRelease(self.fleet.engine) if number == 7 else None
        drops_days = self.fleet.engine.dialect.name == "postgresql"
        self.oracle = Oracle(drops_days=drops_days)
        limits = (None, None, timedelta(minutes=5))
        return multiple(*(self.publish_to("export", each, None) for each in limits))

    def teardown(self) -> None:
        self._travel.stop()

    def tick(self) -> datetime:
        """Let a second pass, so that no two steps happen at the same time."""
        Machine.steps += 1
        self.clock.shift(SECOND)
        return datetime.now(UTC)

    @rule(
        target=messages,
        queue=QUEUES,
        expires=st.sampled_from([None, timedelta(minutes=5)]),
        eta=st.sampled_from([None, None, FAR]),
    )
    def publish(
        self, queue: str, expires: timedelta | None, eta: datetime | None
    ) -> Message:
        return self.publish_to(queue, expires, eta)

    def publish_to(
        self, queue: str, expires: timedelta | None, eta: datetime | None
    ) -> Message:
        self.number += 1
        now = self.tick()
        expires_at = now + expires if expires else None
        name = f"{queue}.task"
        return Message(f"id{self.number}", name, queue, 0, now, expires_at, eta)

    @is_new
    @rule(batch=st.lists(messages, min_size=1, max_size=3), kill=KILLS)
    def copy(self, batch: list[Message], kill: int | None) -> None:
        """Store copies: the first time, late, or again."""
        self.tick()
        self.fleet.write(batch, kill)
        for message in sorted(batch, key=lambda each: each.retries):
            self.oracle.copy(message)

    @is_new
    @rule(target=runs, message=messages, status=ENDS)
    def start(self, message: Message, status: str | None) -> Run:
        """Start a message, for the first time or because it was delivered again.

        With a status, it ends in the next second.
        """
        now = self.tick()
        run = Run(message, f"w{len(self.requests)}@host", now)
        self.requests[run] = self.fleet.start(run)
        self.oracle.store("STARTED", run, now)
        if status is not None:
            self.end(run, status)
        return run

    @is_new
    @rule(run=consumes(runs), status=st.sampled_from(["SUCCESS", "FAILURE"]))
    def finish(self, run: Run, status: str) -> None:
        self.end(run, status)

    def end(self, run: Run, status: str) -> None:
        if run not in self.requests:
            return
        now = self.tick()
        value = len(self.requests)
        self.fleet.end(self.requests.pop(run), status, value)
        self.oracle.store(status, run, now, value)

    @is_new
    @rule(target=messages, run=consumes(runs))
    def retry(self, run: Run) -> Message | MultipleResults[Message]:
        task = self.oracle.tasks.get(run.message.id)
        result = None if task is None else task.result
        if result is None or result.run is not run or run not in self.requests:
            return multiple()
        now = self.tick()
        self.fleet.end(self.requests.pop(run), "RETRY", None)
        self.oracle.store("RETRY", run, now)
        again = run.message
        return Message(
            again.id, again.name, again.queue, again.retries + 1, now, again.expires
        )

    @is_new
    @rule(message=messages)
    def revoke(self, message: Message) -> None:
        """Revoke a message before it runs, or end its run."""
        task = self.oracle.tasks.get(message.id)
        result = None if task is None else task.result
        now = self.tick()
        if result is None or result.message != message:
            run = Run(message, "r@host", None)
        elif result.status == "STARTED":
            run = result.run
            self.requests.pop(run, None)
        else:
            return
        self.fleet.revoke(run)
        self.oracle.store("REVOKED", run, now)

    @has_tasks
    @rule(id=st.runner().flatmap(lambda self: st.sampled_from(self.ended_ids())))
    def forget(self, id: str | None) -> None:
        if id is not None:
            now = self.tick()
            self.fleet.forget(id)
            self.oracle.forget(id, now)

    def ended_ids(self) -> Sequence[str | None]:
        shown = ((id, task.shown()[0]) for id, task in self.oracle.shown().items())
        return [id for id, result in shown if result and result.has_ended] or [None]

    @rule(duration=WAITS)
    def wait(self, duration: timedelta) -> None:
        if datetime.now(UTC) + duration < BEGIN + timedelta(days=800):
            self.clock.shift(duration)

    @has_tasks
    @rule(delay=st.sampled_from([SECOND, timedelta(seconds=61)]), kill=KILLS)
    def archive(self, delay: timedelta, kill: int | None) -> None:
        self.clock.shift(delay)
        now = self.tick()
        self.fleet.archive(kill)
        self.oracle.archive(now)

    @has_tasks
    @rule()
    def expire_results(self) -> None:
        now = self.tick()
        self.fleet.expire_results()
        self.oracle.expire_results(now - timedelta(days=1))

    @has_tasks
    @rule(age=WAITS, kill=KILLS)
    def purge(self, age: timedelta, kill: int | None) -> None:
        before = self.tick() - age
        self.fleet.purge(before, kill)
        self.oracle.purge(before)

    @is_old
    @rule(message=messages)
    def old_copy(self, message: Message) -> None:
        assert self.old is not None
        self.old.copy(message, self.tick())
        self.oracle.copy(message)

    @is_old
    @rule(message=messages, status=ENDS)
    def old_run(self, message: Message, status: str | None) -> None:
        """Run a message; without a status, its worker is stopped by the upgrade."""
        task = self.oracle.tasks.get(message.id)
        if self.old is None or task is not None and task.result is not None:
            return
        run = Run(message, "old@host", self.tick())
        self.old.start(run)
        self.oracle.store("STARTED", run, datetime.now(UTC))
        if status is not None:
            now = self.tick()
            self.old.end(run, status, now, 7)
            self.oracle.store(status, run, now, 7)

    @is_old
    @rule(kill=st.none() | st.integers(0, 300))
    def upgrade(self, kill: int | None) -> None:
        self.fleet.upgrade(kill)
        self.old = None

    @invariant()
    def each_task_is_shown_once_with_its_state(self) -> None:
        tasks = self.oracle.shown()
        if self.old is not None:
            assert self.old.statuses() == {
                id: expected_task(*task.shown())[0] for id, task in tasks.items()
            }
            return
        found = self.fleet.store.find_all([f"id{n + 1}" for n in range(self.number)])
        listed: list[str] = []
        page = self.fleet.store.search(limit=5, brief=True)
        while True:
            listed += [each.id for each in page.tasks]
            if page.next is None:
                break
            page = self.fleet.store.search(limit=5, page=page.next, brief=True)

        shown = {each.id: shown_task(each) for each in found}
        expected = {id: expected_task(*task.shown()) for id, task in tasks.items()}
        assert shown == expected, differences(shown, expected)
        attempts = self.fleet.store.attempts_of([*tasks])
        known = {id: expected_attempts(*task.shown()) for id, task in tasks.items()}
        found_attempts = {id: shown_attempts(some) for id, some in attempts.items()}
        assert found_attempts == known, differences(found_attempts, known)
        assert sorted(listed) == sorted(tasks)

    @invariant()
    def nothing_is_left_of_a_deleted_task(self) -> None:
        if self.old is None:
            assert self.fleet.ids() <= self.oracle.shown().keys()

    @invariant()
    def each_ended_task_is_counted_once(self) -> None:
        if self.old is not None:
            return
        self.fleet.check_rollups()
        now = datetime.now(UTC)
        table = self.fleet.store.stats(
            since=BEGIN - timedelta(days=1), until=now + timedelta(days=1), by="name"
        )
        found = {
            (row.value, status): count
            for row in table.rows
            for status, count in row.now.statuses.items()
        }

        expected = dict(+self.oracle.counted)
        assert found == expected, differences(found, expected)

"""Messages and states in any order: each task has one row in the end."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from archiving import archive, check_rollups
from celery import Celery, states
from closing import publish, run, shown, store_state
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine, delete, func, select, update

from cadasta.workertoolbox.results import TaskStore
from cadasta.workertoolbox.results._database.statuses import ENDED
from cadasta.workertoolbox.results._database.tables import (
    attempt,
    error_group,
    history,
    planned,
    rollup,
    task,
    taskmeta,
)
from cadasta.workertoolbox.results._database.types import naive_utc
from cadasta.workertoolbox.results._headers import PUBLISHED_AT
from cadasta.workertoolbox.results._history.expired_tasks import close_expired
from cadasta.workertoolbox.results.backend import Backend

CLOCKS = [timedelta(minutes=minutes) for minutes in (0, -10, 10)]

TABLES = (taskmeta, task, attempt, planned, history, rollup, error_group)


@dataclass
class Sent:
    """A message, and the runs of it."""

    retries: int
    published_at: str
    expires: str
    arrived: bool = False
    state: str | None = None


@dataclass
class Task:
    """A task whose messages and states are stored in the order of its operations."""

    backend: Backend
    id: str
    clock: timedelta
    publisher: timedelta = timedelta()
    messages: list[Sent] = field(default_factory=list)

    def send(self, retries: int = 0) -> None:
        # A worker publishes the message of a retry.
        now = datetime.now(UTC) + (self.clock if retries else self.publisher)
        expires = now + timedelta(hours=1)
        self.messages.append(Sent(retries, now.isoformat(), expires.isoformat()))

    def arrive(self, sent: Sent) -> None:
        headers: dict[str, Any] = {PUBLISHED_AT: sent.published_at}
        headers |= {"retries": sent.retries, "expires": sent.expires}
        publish(self.backend, id=self.id, root_id=self.id, **headers)
        sent.arrived = True

    def store(self, sent: Sent, state: str) -> None:
        result = ValueError("no") if state in states.EXCEPTION_STATES else 1
        attributes: dict[str, Any] = {PUBLISHED_AT: sent.published_at}
        stored_at = naive_utc(datetime.now(UTC))
        store_state(
            self.backend, self.id, state, result, retries=sent.retries, **attributes
        )
        self._set_back_end(stored_at)
        sent.state = state
        if state == states.RETRY:
            self.send(sent.retries + 1)

    def _set_back_end(self, since: datetime) -> None:
        """Apply the worker's clock to a state that it has stored since an instant."""
        date_done = taskmeta.c.date_done
        is_new = date_done.between(since, naive_utc(datetime.now(UTC)))
        query = select(date_done).where(is_new)
        with self.backend.database.engine.begin() as connection:
            stored_at = connection.scalar(query)
            if stored_at is not None and self.clock:
                changed = {"date_done": stored_at + self.clock}
                connection.execute(update(taskmeta).where(is_new).values(changed))


def _archive(one: Task, _: Sent) -> int:
    return archive(one.backend)


def _forget(one: Task, _: Sent) -> None:
    one.backend.app.AsyncResult(one.id).forget()


def _clean_up(one: Task, _: Sent) -> None:
    with one.backend.database.engine.begin() as connection:
        connection.execute(delete(taskmeta))


def _expire(one: Task, _: Sent) -> None:
    now = datetime.now(UTC)
    run(one.backend, close_expired, now, expired_after_s=-7200.0)


def _store(state: str) -> Callable[[Task, Sent], None]:
    return lambda one, sent: one.store(sent, state)


OPERATIONS: dict[str, Callable[[Task, Sent], object]] = {
    "send": lambda one, _: one.send(),
    "arrive": lambda one, sent: one.arrive(sent),
    **{state: _store(state) for state in (states.STARTED, states.RETRY)},
    **{state: _store(state) for state in (states.SUCCESS, states.FAILURE)},
    "archive": _archive,
    "forget": _forget,
    "clean up": _clean_up,
    "expire": _expire,
}


def clear(engine: Engine) -> None:
    with engine.begin() as connection:
        connection.execute(update(taskmeta).values(archived_at=datetime.now(UTC)))
        for table in TABLES:
            connection.execute(delete(table))


@settings(
    max_examples=30,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    st.lists(
        st.tuples(st.sampled_from(sorted(OPERATIONS)), st.integers(0, 3)),
        min_size=4,
        max_size=12,
    ),
    st.sampled_from(CLOCKS),
)
@example([("RETRY", 0), ("SUCCESS", 1), ("archive", 0), ("arrive", 0)], CLOCKS[1])
def test_each_task_has_one_row_in_the_end(
    app: Celery, backend: Backend, steps: list[tuple[str, int]], clock: timedelta
) -> None:
    clear(backend.database.engine)
    one = Task(backend, "1", clock)
    one.send()
    for name, number in steps:
        # A wrong clock does not say whether a task ended before it was sent again.
        if name != "send" or not clock:
            OPERATIONS[name](one, one.messages[number % len(one.messages)])
    for sent in list(one.messages):
        if not sent.arrived:
            one.arrive(sent)
    last = one.messages[-1]
    if last.state not in ENDED:
        one.store(last, states.SUCCESS)
    while _archive(one, last):
        pass
    with backend.database.engine.connect() as connection:
        [ended] = connection.execute(select(history.c.id, history.c.tracked)).all()
        left = {
            table.name: connection.scalar(select(func.count()).select_from(table))
            for table in (task, attempt)
        }

    assert ended == ("1", True)
    assert set(left.values()) == {0}, shown(backend)
    check_rollups(backend.database.engine)


#: A task that is retried once, and what monitors, archivers and brokers do meanwhile.
RETRIED = ("RETRY", "SUCCESS", "copy 0", "copy 0", "copy 1", "archive", "archive")


@settings(
    max_examples=8,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(st.permutations(RETRIED), st.sampled_from(CLOCKS), st.sampled_from(CLOCKS))
@example(RETRIED, CLOCKS[2], CLOCKS[0])
def test_each_run_is_shown_with_its_message_whatever_the_clocks_say(
    app: Celery,
    backend: Backend,
    url: str,
    steps: Sequence[str],
    clock: timedelta,
    publisher: timedelta,
) -> None:
    clear(backend.database.engine)
    one = Task(backend, "1", clock, publisher)
    one.send()
    runs = iter(("RETRY", "SUCCESS"))
    for step in steps:
        if step == "archive":
            _archive(one, one.messages[0])
        elif step.startswith("copy"):
            # The copy of a retry cannot arrive before it is sent.
            one.arrive(one.messages[: int(step[-1]) + 1][-1])
        else:
            state = next(runs)
            one.store(one.messages[-1], state)
    for sent in one.messages:
        one.arrive(sent)
    live = shown_attempts(url)
    while _archive(one, one.messages[0]):
        pass

    assert live == shown_attempts(url) == [(0, "RETRY"), (1, "SUCCESS")]


def shown_attempts(url: str) -> list[tuple[int | None, str | None]]:
    with TaskStore(url) as store:
        return [(each.retries, each.outcome) for each in store.attempts("1")]

"""The workers of the shop, and when each of its tasks runs."""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from celery import states

from export_demo.week.calls import Call
from export_demo.week.failures import Failure, chord_error

#: The workers of each queue, each of which runs two tasks at a time.
WORKERS: Mapping[str, Sequence[str]] = {
    "orders": ("celery@orders-7d9f8b6c5d-m8wqz", "celery@orders-7d9f8b6c5d-x2k4p"),
    "invoices": ("celery@invoices-5b8c7d9f6d-zz4kp",),
    "emails": ("celery@emails-6c5d4f7b89-q9zvx",),
    "images": ("celery@images-84b6d9f5c7-hj2ls", "celery@images-84b6d9f5c7-9d7wn"),
    "search": ("celery@search-79d8c6b5f4-w2x6m",),
    "export": ("celery@export-5f6c7b8d9f-k7rtz", "celery@export-5f6c7b8d9f-vb6xs"),
    "msg": ("celery@export-5f6c7b8d9f-k7rtz",),
    "stock": ("celery@stock-6d7c8b9f5f-4gk2r",),
    "reports": ("celery@stock-6d7c8b9f5f-4gk2r",),
    "legacy": ("celery@legacy-vm1",),
}
CONCURRENCY = 2

#: Seconds after a failure until a retry may run.
RETRY_AFTER_S = 60.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Job:
    """A call, and what becomes of it.

    Attributes:
        run_s: Seconds that a run takes.
        result: What it returns.
        failure: Returns the error of a run that begins at an instant, or None.
        max_retries: How often a run is retried.
        state: The state of a run without an error.
        hangs: Whether the run does not end.
        tracked: Whether a monitor sees the message.
        then: Returns the jobs that the task publishes at the end of a run.
        later_steps: The steps that are not run if it fails.
    """

    call: Call
    run_s: float
    result: Any = None
    failure: Callable[[datetime], Failure | None] = lambda at: None
    max_retries: int = 0
    state: str = states.SUCCESS
    hangs: bool = False
    tracked: bool = True
    then: Callable[[datetime], Iterable[Job]] = lambda at: ()
    later_steps: Sequence[Call] = ()


@dataclass(frozen=True, slots=True)
class Run:
    """A run of a task, or the wait for one.

    Attributes:
        worker: None for a task that no worker has begun.
        state: `STARTED`, `RETRY` or an end.
        not_run: Why a step was not published.
    """

    call: Call
    worker: str | None = None
    started_at: datetime | None = None
    ended_at: datetime | None = None
    state: str | None = None
    result: Any = None
    failure: Failure | None = None
    tracked: bool = True
    not_run: str | None = None


@dataclass
class Fleet:
    """Runs jobs one after another, as the workers are free.

    Attributes:
        now: The present: later runs have not begun.
        pauses: For a queue, when its workers were down.
    """

    now: datetime
    chance: random.Random
    pauses: Mapping[str, Sequence[tuple[datetime, datetime]]] = field(
        default_factory=dict
    )

    def run(self, jobs: Iterable[Job]) -> list[Run]:
        """Return the runs of jobs and of those that they publish."""
        waiting = [(job.call.due_at, n, job) for n, job in enumerate(jobs)]
        heapq.heapify(waiting)
        free = {
            worker: [datetime.min.replace(tzinfo=self.now.tzinfo)] * CONCURRENCY
            for workers in WORKERS.values()
            for worker in workers
        }
        runs: list[Run] = []
        number = len(waiting)
        while waiting:
            _, _, job = heapq.heappop(waiting)
            if job.call.at > self.now:
                continue
            for each in self._begin(job, free, runs):
                number += 1
                heapq.heappush(waiting, (each.call.due_at, number, each))
        return runs

    def _begin(
        self, job: Job, free: Mapping[str, list[datetime]], runs: list[Run]
    ) -> Iterable[Job]:
        """Run a job on the worker that is free first; return what it publishes."""
        call = job.call
        workers = WORKERS.get(call.queue)
        if workers is None:  # Nothing consumes the queue.
            runs.append(Run(call))
            return ()
        worker = min(workers, key=lambda each: (free[each][0], self.chance.random()))
        delay = timedelta(seconds=self.chance.lognormvariate(-3.6, 0.7))
        started_at = max(call.due_at, free[worker][0]) + delay
        for down_at, up_at in self.pauses.get(call.queue, ()):
            if down_at <= started_at < up_at:
                started_at = up_at + delay * 20
        if started_at > self.now:
            runs.append(Run(call, tracked=job.tracked))
            return ()
        ended_at = started_at + timedelta(seconds=job.run_s)
        is_running = job.hangs or ended_at > self.now
        heapq.heapreplace(free[worker], self.now if is_running else ended_at)
        if is_running:
            runs.append(Run(call, worker, started_at, None, states.STARTED))
            return ()
        return self._end(job, worker, started_at, ended_at, runs)

    def _end(
        self,
        job: Job,
        worker: str,
        started_at: datetime,
        ended_at: datetime,
        runs: list[Run],
    ) -> Iterable[Job]:
        failure = job.failure(started_at)
        call = job.call
        is_retried = failure is not None and call.retries < job.max_retries
        state = states.FAILURE if failure else job.state
        runs.append(
            Run(
                *(call, worker, started_at, ended_at),
                states.RETRY if is_retried else state,
                None if failure else job.result,
                failure,
                job.tracked,
            )
        )
        if is_retried:
            eta = ended_at + timedelta(seconds=RETRY_AFTER_S * 2**call.retries)
            again = replace(call, at=ended_at, eta=eta, retries=call.retries + 1)
            return [replace(job, call=again)]
        if failure is None:
            return job.then(ended_at)
        reason = f"not run: {call.name}[{call.id}] failed"
        for step in job.later_steps:
            error = chord_error(call.id, failure)
            end = (None, None, ended_at, states.FAILURE, None, error, False, reason)
            runs.append(Run(step, *end))
        return ()

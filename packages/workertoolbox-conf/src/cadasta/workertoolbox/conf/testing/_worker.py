"""Run a worker in a thread of the test process."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from celery import Celery, _state
from celery.exceptions import WorkerShutdown
from celery.worker import WorkController, state

from cadasta.workertoolbox.conf.testing._errors import WorkerFailed
from cadasta.workertoolbox.routing.consumer import Consumer

#: Seconds between two checks of whether to stop. Celery's own interval is two seconds.
TICK_S = 0.05

#: Seconds that a worker may take to start, or to end.
TIMEOUT_S = 30.0

_celery: Any = _state


class _Consumer(Consumer):
    controller: _Worker

    def connect(self) -> Any:
        connection: Any = super().connect()
        drain = connection.drain_events

        def drain_events(timeout: float | None = None) -> Any:
            if self.controller.stopping.is_set():
                raise WorkerShutdown(0)
            return drain(timeout=TICK_S)

        connection.drain_events = drain_events
        return connection


class _Worker(WorkController):
    def __init__(self, **options: Any) -> None:
        #: Set when the worker is ready, or has ended before that.
        self.settled = threading.Event()
        self.is_ready = False
        self.stopping = threading.Event()
        super().__init__(**options)

    def on_consumer_ready(self, consumer: Any) -> None:
        self.is_ready = True
        self.settled.set()

    def run(self) -> None:
        self.app.set_current()
        try:
            self.start()
        finally:
            self.settled.set()


@contextmanager
def running_worker(
    app: Celery, *, pool: str = "solo", concurrency: int = 1, **options: Any
) -> Iterator[WorkController]:
    """Run a worker in a thread for the duration of a block.

    At the end, the worker finishes the task that it is running and leaves all other
    messages in the queues.

    Args:
        app: An app, usually inside `embedded`.
        pool: `solo` or `threads`. Tasks run in this process, so they see what a test
            patches.
        concurrency: The number of tasks that run at the same time.
        options: Other arguments of Celery's `WorkController`.

    Raises:
        WorkerFailed: The worker does not start, ends early, or does not end.
    """
    app.finalize()
    worker = _make(app, pool=pool, concurrency=concurrency, **options)
    thread = threading.Thread(target=worker.run, name="toolbox worker", daemon=True)
    thread.start()
    if worker.settled.wait(TIMEOUT_S) and not worker.is_ready:
        thread.join(TIMEOUT_S)
    # In a process with a worker, Celery refuses to wait for results, because tasks must
    # not wait for each other. But the test, in the same process, may wait.
    _celery._set_task_join_will_block(False)
    if not worker.is_ready:
        raise WorkerFailed(f"{_named(worker)} did not start; see its log")
    try:
        yield worker
    finally:
        ended_early = not thread.is_alive()
        worker.stopping.set()
        thread.join(TIMEOUT_S)
    if thread.is_alive():
        tasks = sorted(str(request.name) for request in state.active_requests)
        raise WorkerFailed(
            f"{_named(worker)} did not end within {TIMEOUT_S:g} s; it is "
            f"running {', '.join(tasks) or 'no task'}"
        )
    if ended_early:
        raise WorkerFailed(f"{_named(worker)} ended too early; see its log")


def _make(app: Celery, **options: Any) -> _Worker:
    try:
        return _Worker(
            app=app,
            consumer_cls=_Consumer,
            # Celery's event loop does not call `drain_events`, which stops this worker.
            use_eventloop=False,
            without_heartbeat=True,
            without_mingle=True,
            without_gossip=True,
            **options,
        )
    except SystemExit as error:
        # `SystemExit` would end pytest.
        raise WorkerFailed(
            f"the worker of app {app.main!r} cannot run: {error}"
        ) from error


def _named(worker: WorkController) -> str:
    return f"the worker of app {worker.app.main!r}"

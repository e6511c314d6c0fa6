"""A service that runs for its tests, and the outcomes of its tasks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from celery import Celery, states
from celery.exceptions import TimeoutError
from celery.result import AsyncResult, ResultBase
from celery.worker import WorkController

from cadasta.workertoolbox.conf.testing._probes import Probes
from cadasta.workertoolbox.conf.testing._tracking import assert_tracked
from cadasta.workertoolbox.results import Task, TaskStore


@dataclass
class RunningService:
    """A service with its worker, a monitor and the tasks of the tests.

    Attributes:
        timeout_s: Seconds to wait for a task.
    """

    app: Celery
    worker: WorkController
    store: TaskStore
    probes: Probes
    timeout_s: float

    def tracked(self, result: ResultBase) -> Sequence[Task]:
        """Wait until the tasks of a result are tracked, and return them.

        Raises:
            AssertionError: The tasks are not tracked in time.
        """
        return assert_tracked(self.app, result, timeout_s=self.timeout_s)

    @property
    def work_queues(self) -> list[str]:
        """The names of the queues that the worker should consume."""
        monitor = self.app.conf.PLATFORM_QUEUE_NAME
        return [name for name in self.app.amqp.queues if name != monitor]

    def wait(self, result: AsyncResult[Any]) -> None:
        """Wait for the end of a task.

        Raises:
            AssertionError: The task does not end in time.
        """
        try:
            result.get(timeout=self.timeout_s, propagate=False)
        except TimeoutError as error:
            task = self.store.find(result.id)
            seen = (
                "it is not in the database" if task is None else f"it is {task.status}"
            )
            raise AssertionError(
                f"task {result.id} did not end within {self.timeout_s:g} s; {seen}"
            ) from error

    def finished(
        self, result: AsyncResult[Any], *, status: str = states.SUCCESS
    ) -> Task:
        """Wait until a task has ended and is tracked, and return it.

        Raises:
            AssertionError: The task does not end, has another status, or is not
                tracked.
        """
        self.wait(result)
        task = self.tracked(result)[-1]
        if task.status != status:
            raise AssertionError(
                f"task {task.name} ({task.id}) ended with {task.status} instead of "
                f"{status}: {task.result}\n{task.traceback or ''}"
            )
        return task

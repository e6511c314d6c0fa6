"""Tasks for the conformance tests, which run in the service under test."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from celery import Celery, Task

#: Prefix of the tasks' names. It is not the name of a queue, so the tasks go where the
#: service sends tasks without a route of their own.
PREFIX = "workertoolbox-conformance"


class ProbeFailed(Exception):
    """The error that the task `fail` raises."""


@dataclass
class Probes:
    """The tasks, and how often they ran.

    Attributes:
        echo: Returns its argument.
        total: Returns the sum of numbers.
        retry: Retries itself once.
        fail: Raises `ProbeFailed`.
        runs: How often each attempt ran, by task id and number of retries.
    """

    echo: Task[Any, Any] = field(init=False)
    total: Task[Any, Any] = field(init=False)
    retry: Task[Any, Any] = field(init=False)
    fail: Task[Any, Any] = field(init=False)
    runs: Counter[tuple[str, int]] = field(default_factory=Counter)

    def count_run(self, task: Task[Any, Any]) -> None:
        """Count the attempt that is running."""
        self.runs[(str(task.request.id), task.request.retries)] += 1


@contextmanager
def registered_probes(app: Celery) -> Iterator[Probes]:
    """Register the tasks with an app for the duration of a block.

    A worker runs only tasks that are registered when it starts.
    """
    app.finalize()
    probes = Probes()

    def echo(self: Task[Any, Any], value: object, **_: object) -> object:
        probes.count_run(self)
        return value

    def total(self: Task[Any, Any], numbers: list[int]) -> int:
        probes.count_run(self)
        return sum(numbers)

    def retry(self: Task[Any, Any]) -> int:
        probes.count_run(self)
        if not self.request.retries:
            raise self.retry(countdown=0, max_retries=1)
        return int(self.request.retries)

    def fail(self: Task[Any, Any]) -> None:
        probes.count_run(self)
        raise ProbeFailed("on purpose")

    for function in (echo, total, retry, fail):
        # The tests need the results, even if the service ignores results by default.
        task = app.task(
            name=f"{PREFIX}.{function.__name__}",
            bind=True,
            shared=False,
            ignore_result=False,
        )(function)
        setattr(probes, function.__name__, task)
    try:
        yield probes
    finally:
        for name in [name for name in app.tasks if name.startswith(f"{PREFIX}.")]:
            app.tasks.unregister(name)

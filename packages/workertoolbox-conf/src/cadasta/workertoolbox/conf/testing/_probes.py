"""Tasks that do nothing, to be run by somebody else's service."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from celery import Celery, Task

#: What their names begin with: of no queue, so that they go where the service sends
#: what it does not know.
PREFIX = "workertoolbox-conformance"


class ProbeFailed(Exception):
    """What the task `fail` raises."""


@dataclass
class Probes:
    """The tasks.

    Attributes:
        echo: Returns its argument.
        total: Adds up numbers.
        retry: Is retried once.
        fail: Raises `ProbeFailed`.
        runs: How often each attempt was run, by task id and number of retries.
    """

    echo: Task[Any, Any] = field(init=False)
    total: Task[Any, Any] = field(init=False)
    retry: Task[Any, Any] = field(init=False)
    fail: Task[Any, Any] = field(init=False)
    runs: Counter[tuple[str, int]] = field(default_factory=Counter)

    def note(self, task: Task[Any, Any]) -> None:
        """Count an attempt that is running."""
        self.runs[(str(task.request.id), task.request.retries)] += 1


@contextmanager
def registered(app: Celery) -> Iterator[Probes]:
    """Have an app know the tasks as long as a block lasts.

    A worker runs those only that are known when it starts.
    """
    app.finalize()
    probes = Probes()

    def echo(self: Task[Any, Any], value: object, **_: object) -> object:
        probes.note(self)
        return value

    def total(self: Task[Any, Any], numbers: list[int]) -> int:
        probes.note(self)
        return sum(numbers)

    def retry(self: Task[Any, Any]) -> int:
        probes.note(self)
        if not self.request.retries:
            raise self.retry(countdown=0, max_retries=1)
        return int(self.request.retries)

    def fail(self: Task[Any, Any]) -> None:
        probes.note(self)
        raise ProbeFailed("as it should")

    for function in (echo, total, retry, fail):
        # Whatever the service's defaults are: their results are asked for.
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

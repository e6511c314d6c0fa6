"""The service of the soak: `celery -A endurance.service`."""

from __future__ import annotations

import gc
import os
from pathlib import Path
from threading import Event, Thread
from typing import Any

from celery import Celery, Task
from celery.signals import task_failure, task_retry

from cadasta.workertoolbox.conf import Config
from cadasta.workertoolbox.results._history import tidying
from cadasta.workertoolbox.results._monitor import archiving
from endurance.clock import followed
from endurance.workload import CLOCK, FAILING, PART, RETRYING, SHORT, STEP, TOTAL

#: Seconds between two runs of the housekeeping of days, instead of an hour, five
#: minutes and a minute: a day of the soak takes some seconds, or a minute.
DAILY_S = 5.0

#: Seconds between two collections of garbage that no failure causes.
COLLECTED_S = 2.0

app = Celery("soak")


@app.task(name=SHORT)
def short(number: int, folder: str) -> dict[str, int]:
    """Do nothing."""
    return {"rows": number}


@app.task(name=FAILING)
def failing(number: int) -> None:
    """Fail with a text of its own."""
    raise ValueError(f"no map {number}")


@app.task(name=RETRYING, bind=True)
def retrying(self: Task[Any, Any], number: int) -> int:
    """Succeed the second time."""
    if not self.request.retries:
        raise self.retry(countdown=0, exc=ConnectionError(f"no answer to {number}"))
    return number


@app.task(name=PART)
def part(number: int) -> int:
    """Be in the header of a chord."""
    return number


@app.task(name=TOTAL)
def total(numbers: list[int]) -> int:
    """Be the body of a chord."""
    return sum(numbers)


@app.task(name=STEP)
def step(number: int) -> int:
    """Be in a chain."""
    return number + 1


def _collect(**arguments: object) -> None:
    """Collect the garbage of the failures and retries before this one.

    The frame of Celery that runs a task and the error of the task refer to each other,
    also without the toolbox. With the positions that billiard notes they take a third
    of a megabyte. Python collects them once they are a quarter of all objects: after
    some ten thousand tasks. A worker keeps the memory that they have taken, and how
    many of them there are in a given time depends on the load of the machine.
    """
    gc.collect()


def _collect_repeatedly() -> None:
    # What exists by now stays, and need not be looked at again.
    gc.freeze()
    never = Event()
    while not never.wait(COLLECTED_S):
        _collect()


if CLOCK in os.environ:
    # Kept: it would stop with its last reference.
    _following = followed(Path(os.environ[CLOCK]))
    _following.__enter__()
    archiving.DROP_PERIOD_S = DAILY_S
    _daily = {tidying.tidy: DAILY_S, tidying.delete_intervals: DAILY_S}
    vars(archiving)["PERIODS_S"] = {**tidying.PERIODS_S, **_daily}
    app.config_from_object(Config(["export"]))
    for signal in (task_failure, task_retry):
        signal.connect(_collect)
    Thread(target=_collect_repeatedly, daemon=True).start()

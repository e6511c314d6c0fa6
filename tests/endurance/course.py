"""Runs a soak: samples a fleet, steps its clocks, and checks it at the end."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from endurance.bounds import Bound, Course, bounds_of, statement_bound
from endurance.clock import STEP_S
from endurance.fleet import open_fleet
from endurance.progress import Progress
from endurance.sampling import Sample, Sampler, open_sampler, slow_statements
from endurance.stepping import step
from endurance.verification import miscounts, too_old
from endurance.workload import WARM_UP
from support.polling import wait_until

#: The least number of steps, so that minutes, which are kept for a week, are deleted.
STEPS = 8

#: Tasks for each step of a longer soak.
TASKS_PER_STEP = 60_000

#: Seconds between two samples, at most.
SAMPLED_S = 5.0

#: Samples for each step.
SAMPLES = 5

#: Seconds until all is archived and deleted, once the last task is stored, and until
#: the next task is stored before.
TIMEOUT_S = 120.0


@dataclass(frozen=True)
class Outcome:
    """What a soak has measured.

    Attributes:
        tasks: The number of tasks after the warm-up.
        took_s: Seconds from the first task until all were archived.
        days: Days by which the clocks have moved.
        cost_ms: Milliseconds of processor time for each task, by part of the fleet.
        problems: What was miscounted or not deleted.
    """

    tasks: int
    took_s: float
    days: float
    cost_ms: Mapping[str, float]
    bounds: tuple[Bound, ...]
    problems: tuple[str, ...]

    @property
    def holds(self) -> bool:
        """Return whether each value is within its bound, and each task counted once."""
        return not self.problems and all(each.holds for each in self.bounds)


def run_soak(
    folder: Path, *, tasks: int, report: Callable[[str], object] = print
) -> Outcome:
    """Publish tasks to a fleet that is warm, and measure it until all are archived.

    Args:
        folder: An empty folder for all files.
        tasks: The number of tasks, a multiple of 100.
        report: Receives lines that show the progress.

    Raises:
        ChildProcessError: A process of the fleet has ended by itself.
    """
    steps = max(STEPS, tasks // TASKS_PER_STEP)
    # A short soak is too short for the default of a minute.
    vacuum_s = min(60, max(5, tasks // 20_000))
    with (
        open_fleet(folder, tasks=tasks, steps=steps, vacuum_s=vacuum_s) as fleet,
        open_sampler(fleet) as sampler,
    ):
        logged = len(fleet.server.text)
        began_at = time.monotonic()
        samples = [*_sampled(sampler, tasks=tasks, steps=steps, report=report)]
        took_s = time.monotonic() - began_at
        # First, because days that are dropped meanwhile cannot be counted.
        problems = [*_left(sampler)]
        problems += miscounts(fleet, tasks=WARM_UP + tasks, cleanups=steps)
        slow = slow_statements(fleet.server.text[logged:])
    for each in slow[:3]:
        report(f"{each.seconds:.2f} s: {each.text[:200]}")
    course = Course(samples, tasks)
    bounds = (*bounds_of(course), statement_bound(slow))
    days = steps * STEP_S / timedelta(days=1).total_seconds()
    return Outcome(tasks, took_s, days, course.cost_ms(), bounds, (*problems,))


def _sampled(
    sampler: Sampler, *, tasks: int, steps: int, report: Callable[[str], object]
) -> Iterator[Sample]:
    """Yield samples until all tasks are archived, and step the clocks meanwhile."""
    progress = Progress(tasks, report)
    taken, stored_at, sample = 0, time.monotonic(), sampler.sample()
    while True:
        yield sample
        progress.show(sample)
        before, sample = sample, _next_sample(sampler, tasks / steps / SAMPLES)
        # The last cleanup finds all results archived: it leaves the others.
        is_late = sample.stored >= tasks * (taken + 1) / steps and taken < steps - 1
        if is_late or (taken == steps - 1 and sampler.is_idle(sample)):
            step(sampler)
            taken += 1
        if sample.stored > before.stored:
            stored_at = time.monotonic()
        has_ended = sampler.fleet.producer.exit_code is not None
        is_done = has_ended and sampler.is_idle(sample)
        if is_done or time.monotonic() > stored_at + TIMEOUT_S:
            yield sample
            return


def _next_sample(sampler: Sampler, tasks: float) -> Sample:
    """Return a sample after a number of tasks, or some seconds."""
    due_at = time.monotonic() + SAMPLED_S
    until = sampler.stored() + tasks

    def is_due() -> bool:
        sampler.fleet.check()
        return time.monotonic() >= due_at or sampler.stored() >= until

    wait_until(is_due, timeout_s=2 * SAMPLED_S)
    return sampler.sample()


def _left(sampler: Sampler) -> Iterator[str]:
    """Yield what is not deleted although it is too old, after some time."""
    fleet = sampler.fleet
    try:
        wait_until(lambda: not [*too_old(fleet)], timeout_s=TIMEOUT_S / 4)
    except AssertionError:
        yield from too_old(fleet)
    for queue, count in sampler.waiting().items():
        if count:
            yield f"{count} messages are left in {queue}"

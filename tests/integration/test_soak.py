"""A soak reports each value that grows with the number of tasks.

The soak itself is `hatch run soak`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from endurance.bounds import Course, bounds_of, statement_bound
from endurance.sampling import Sample, Statement, TableSize, slow_statements

TASKS = 1000

MIB = 2**20

#: Changes a sample that was taken after a part of the tasks.
Change = Callable[[Sample, float], Sample]


def course(change: Change = lambda sample, part: sample) -> Course:
    """Return a soak in which nothing grows, but for a change."""
    samples = []
    for stored in range(0, TASKS + 1, 50):
        sample = Sample(
            stored=stored,
            memory={"monitor": 100 * MIB, "worker-1": 150 * MIB},
            used_s={"monitor": 2.0 + stored / 500},
            monitor_lag_s=0.5,
            archiver_lag_s=15.0,
            tables={"task": TableSize(20 * MIB, 10 * MIB, 20_000, 1_000)},
        )
        samples.append(change(sample, stored / TASKS))
    return Course(samples, TASKS)


def broken(course: Course) -> list[str]:
    """Return what is beyond its bound."""
    return [each.what for each in bounds_of(course) if not each.holds]


def larger(sample: Sample, factor: float, *, dead: int = 0) -> Sample:
    """Return a sample with a larger table."""
    size = sample.tables["task"]
    grown = TableSize(
        int(size.table_bytes * factor), size.index_bytes, size.live, size.dead + dead
    )
    return replace(sample, tables={"task": grown})


def test_nothing_is_reported_of_a_soak_in_which_nothing_grows() -> None:
    assert broken(course()) == []


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (
            lambda sample, part: replace(
                sample, memory={"monitor": int((100 + 20 * part) * MIB)}
            ),
            ["growth of the memory of monitor"],
        ),
        (
            lambda sample, part: larger(sample, 1 + 6 * part),
            ["task in the last quarter"],
        ),
        (lambda sample, part: larger(sample, 10), ["task for each row"]),
        (
            lambda sample, part: larger(sample, 1, dead=40_000 * (part == 0.5)),
            ["dead rows of task"],
        ),
        (
            lambda sample, part: replace(sample, monitor_lag_s=11 * part),
            ["oldest copy in the monitor queue"],
        ),
        (
            lambda sample, part: replace(sample, archiver_lag_s=61 * part),
            ["oldest ended task, not archived"],
        ),
    ],
    ids=["memory", "growth", "bloat", "dead", "monitor", "archiver"],
)
def test_a_value_beyond_its_bound_is_reported(change: Change, what: list[str]) -> None:
    assert broken(course(change)) == what


def test_the_processor_time_of_each_task_leaves_out_the_start_of_a_part() -> None:
    assert course().cost_ms() == {"monitor": pytest.approx(2.0)}


def test_slow_statements_of_the_fleet_are_read_from_the_log() -> None:
    log = (
        "2026-11-29 16:02:55.982 UTC : LOG:  duration: 1203.5 ms  statement: SELECT 1\n"
        "2026-11-29 16:02:56.982 UTC : ERROR:  deadlock detected\n"
        "2026-11-29 16:02:57.982 UTC soak: LOG:  duration: 9000.0 ms  statement: x\n"
        "2026-11-29 16:02:58.982 UTC : LOG:  duration: 203.5 ms  statement: SELECT 2\n"
    )
    slow = slow_statements(log)

    assert slow == [
        Statement(1.2035, "statement: SELECT 1"),
        Statement(0.2035, "statement: SELECT 2"),
    ]
    assert not statement_bound(slow).holds
    assert statement_bound(slow[1:]).holds

"""What a soak must not exceed, from what was measured of its fleet."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import NamedTuple

from endurance.sampling import Sample, Statement, TableSize

MIB = 2**20

#: Growth of the memory of a process between the second and the last quarter of a soak:
#: what may be noise, and what may be lost for each task in between. The id of a task
#: takes 85 bytes.
MEMORY_NOISE = 1.5 * MIB
MEMORY_PER_TASK = 4.0

#: The same for the size of a table with its indexes, as a multiple, and in bytes.
TABLE_GROWTH = 1.5
TABLE_NOISE = 4 * MIB

#: Bytes of a table and its indexes for each of the rows that it has held at a time.
BYTES_PER_ROW = 8 * 1024

#: Rows from which sizes and dead rows are compared with the rows: a smaller table
#: changes more often between two looks of autovacuum.
COMPARED_ROWS = 5000

#: Dead rows, as a multiple of the rows that the table has held at a time. PostgreSQL
#: vacuums a table when a fifth is dead, if it looks just then.
DEAD_PER_ROW = 1.5

#: Seconds that a copy waits in the queue, and an ended task for the archiver beyond
#: `ARCHIVE_AFTER`.
MONITOR_LAG_S = 10.0
ARCHIVER_LAG_S = 60.0

#: Seconds that a statement takes.
STATEMENT_S = 1.0


class Bound(NamedTuple):
    """A measured value, and the largest one that is allowed.

    Attributes:
        what: What was measured.
        unit: The unit of both values.
    """

    what: str
    value: float
    limit: float
    unit: str

    @property
    def holds(self) -> bool:
        """Return whether the value is allowed."""
        return self.value <= self.limit


@dataclass(frozen=True)
class Course:
    """The samples of a soak, in order.

    Attributes:
        tasks: The number of tasks.
    """

    samples: Sequence[Sample]
    tasks: int

    def quarter(self, number: int) -> Sequence[Sample]:
        """Return the samples of the first to the fourth quarter of the tasks.

        Raises:
            ValueError: The quarter has no sample.
        """
        first, last = (self.tasks * n / 4 for n in (number - 1, number))
        found = [each for each in self.samples if first < each.stored <= last]
        if not found:
            raise ValueError(f"quarter {number} has no samples; publish more tasks")
        return found

    def cost_ms(self) -> Mapping[str, float]:
        """Return milliseconds of processor time for each task, by part of the fleet."""
        costs = {}
        for name, before_s in self.samples[0].used_s.items():
            # A process that has ended has used nothing.
            used_s = max(each.used_s[name] for each in self.samples) - before_s
            costs[name] = used_s * 1000 / self.tasks
        return costs


def bounds_of(course: Course) -> Iterator[Bound]:
    """Yield what is bounded, with the values of a soak."""
    quarters = {number: course.quarter(number) for number in (2, 4)}
    yield from _memory(course, quarters)
    yield from _tables(quarters, course.samples)
    lag_s = max(each.monitor_lag_s for each in course.samples)
    yield Bound("oldest copy in the monitor queue", lag_s, MONITOR_LAG_S, "s")
    lag_s = max(each.archiver_lag_s for each in course.samples)
    yield Bound("oldest ended task, not archived", lag_s, ARCHIVER_LAG_S, "s")


def statement_bound(slow: Sequence[Statement]) -> Bound:
    """Return the bound of the statements that PostgreSQL has logged."""
    slowest_s = max((each.seconds for each in slow), default=0.0)
    return Bound("slowest statement", slowest_s, STATEMENT_S, "s")


def _memory(
    course: Course, quarters: Mapping[int, Sequence[Sample]]
) -> Iterator[Bound]:
    between = course.tasks / 2
    for name in course.samples[0].memory:
        second, last = (
            median(each.memory[name] for each in quarters[number]) for number in (2, 4)
        )
        limit = MEMORY_PER_TASK + MEMORY_NOISE / between
        growth = (last - second) / between
        yield Bound(f"growth of the memory of {name}", growth, limit, "bytes a task")


def _tables(
    quarters: Mapping[int, Sequence[Sample]], samples: Sequence[Sample]
) -> Iterator[Bound]:
    for name in samples[-1].tables:
        second, last = (
            median(_size(each, name).bytes for each in quarters[number])
            for number in (2, 4)
        )
        limit = (second * TABLE_GROWTH + TABLE_NOISE) / MIB
        yield Bound(f"{name} in the last quarter", last / MIB, limit, "MiB")
        rows = max(_size(each, name).live for each in samples)
        if rows < COMPARED_ROWS:
            continue
        size = max(0.0, last - TABLE_NOISE) / rows
        yield Bound(f"{name} for each row", size, BYTES_PER_ROW, "bytes")
        dead = max(_size(each, name).dead for each in samples)
        yield Bound(f"dead rows of {name}", dead / rows, DEAD_PER_ROW, "× its rows")


def _size(sample: Sample, name: str) -> TableSize:
    return sample.tables.get(name, TableSize(0, 0, 0, 0))

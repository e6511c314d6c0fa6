"""A fleet under load while retention deletes what it stores.

A producer publishes tasks through the routing to Redis, two workers run them and store
results with the backend, and a monitor copies and archives them: short tasks, failures,
retries, chords and chains. The producer rests while more than a thousand wait. The
history keeps a day, and failures three; all else is kept as by default, and beat sends
`celery.backend_cleanup` each day. So that days pass within minutes, the clocks of all
processes and of PostgreSQL step 23 hours ahead again and again, when all tasks that are
published have ended. Between two steps they run as usual. Commits do not wait for the
disk.

A process keeps the memory of its largest batch. So 4,500 other tasks are run first,
while no monitor runs: it then copies and archives them in the largest batches.

Everything is measured every few seconds, and nothing may grow with the number of tasks.
The memory of a process is the median over the last quarter of the tasks minus that over
the second, and the size of a table is the median over the last quarter. Then each task
must have been counted once, and nothing too old may be left.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from endurance.course import run_soak
from measuring.figures import Row

#: The number of tasks after the first ones.
TASKS = 2_000_000


def measure(tasks: str = str(TASKS)) -> Iterator[Row]:
    """Yield each value with its bound.

    Raises:
        SystemExit: A value is beyond its bound, a task is not counted once, or
            something too old is left.
    """
    folder = tempfile.mkdtemp(prefix="workertoolbox-soak-")
    outcome = run_soak(
        Path(folder),
        tasks=int(tasks),
        report=lambda line: print(line, file=sys.stderr, flush=True),
    )
    yield {
        "tasks": f"{outcome.tasks:,}",
        "took": f"{outcome.took_s / 60:.1f} min",
        "rate": f"{outcome.tasks / outcome.took_s:,.0f}/s",
        "days of the clocks": f"{outcome.days:.1f}",
    }
    for part, cost_ms in outcome.cost_ms.items():
        yield {"processor time": part, "for each task": f"{cost_ms:.2f} ms"}
    for each in outcome.bounds:
        yield {
            "measured": each.what,
            "value": f"{each.value:,.1f} {each.unit}",
            "at most": f"{each.limit:,.1f} {each.unit}",
            "": "" if each.holds else "BROKEN",
        }
    if not outcome.holds:
        print(*outcome.problems, sep="\n", file=sys.stderr)
        sys.exit(f"a bound is broken; see {folder}")

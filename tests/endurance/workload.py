"""The tasks of a soak, and what becomes of each."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from celery import states

#: Tasks in a round, of which the workload is a multiple.
ROUND = 100

#: Tasks before the first sample, more than twice a batch of the archiver.
WARM_UP = 4500

SHORT, FAILING, RETRYING = "export.short", "export.failing", "export.retrying"
PART, TOTAL, STEP = "export.part", "export.total", "export.step"

#: The variable with the path of the file that the clock of a process follows.
CLOCK = "SOAK_CLOCK"

#: What the producer prints after the last task, but for those of beat.
PUBLISHED = "published"

#: The task that beat sends once a day.
CLEANUP = "celery.backend_cleanup"

#: Tasks of a header, before the body of their chord; and of a chain.
HEADER, CHAIN = 3, 3

#: The single tasks of a round. A chord and a chain come on top.
SINGLE: Mapping[str, int] = {SHORT: 84, FAILING: 5, RETRYING: 4}


def expected(tasks: int) -> Counter[tuple[str, str]]:
    """Return how many tasks end, by name and status.

    Args:
        tasks: The number of published tasks, without those of beat.
    """
    rounds = tasks // ROUND
    each = {**SINGLE, PART: HEADER, TOTAL: 1, STEP: CHAIN}
    failing = {FAILING: states.FAILURE}
    return Counter(
        {
            (name, failing.get(name, states.SUCCESS)): count * rounds
            for name, count in each.items()
        }
    )

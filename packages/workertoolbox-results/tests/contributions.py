"""Contributions to the figures of random tasks, and exact figures of them."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from cadasta.workertoolbox.results._history.tally import Contribution
from cadasta.workertoolbox.results._history.tiers import TIERS

MINUTE, HOUR, DAY = TIERS.values()

#: The last midnight; minutes are kept for the six days before it.
MIDNIGHT = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)


def random_contributions(number: int, *, days: int) -> list[Contribution]:
    """Return tasks that ended in the days before the last midnight."""
    rng = random.Random(5)
    return [
        Contribution(
            name=rng.choice(["export.project", "export.site"]),
            queue=rng.choice(["export", "msg"]),
            status=(status := rng.choice(["SUCCESS", "FAILURE", "RETRY"])),
            finished_at=MIDNIGHT - rng.random() * days * DAY,
            retries=rng.randrange(3),
            redeliveries=rng.randrange(2),
            waited_s=rng.lognormvariate(0, 3),
            ran_s=rng.choice([None, rng.lognormvariate(0, 3)]),
            took_s=rng.choice([None, rng.lognormvariate(1, 3)]),
            error_group="" if status == "SUCCESS" else rng.choice(["timeout", "disk"]),
        )
        for _ in range(number)
    ]


def exact_percentiles(durations: Sequence[float | None]) -> list[Any]:
    known = sorted(each for each in durations if each is not None)
    ranks = [math.ceil(percent * len(known) / 100) for percent in (50, 95, 99)]
    return [known[rank - 1] if known else None for rank in ranks]


def select_tasks(
    tasks: Sequence[Contribution], since: datetime, until: datetime, **values: str
) -> list[Contribution]:
    return [
        each
        for each in tasks
        if since <= each.finished_at < until
        and all(getattr(each, name) == value for name, value in values.items())
    ]

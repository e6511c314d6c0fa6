"""When things happen in a week: more by day than by night."""

from __future__ import annotations

import math
import random
from bisect import bisect
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache
from itertools import accumulate

DAYS = 7
DAY, HOUR, MINUTE = timedelta(days=1), timedelta(hours=1), timedelta(minutes=1)


@cache
def _shares() -> list[float]:
    """Return the share of a day's tasks that is published until each minute."""
    phases = (math.tau * (minute - 90) / 1440 for minute in range(1440))
    sums = list(accumulate(1 - 0.8 * math.cos(phase) for phase in phases))
    return [each / sums[-1] for each in sums]


@dataclass(frozen=True, slots=True)
class Clock:
    """The instants of the week before `now`.

    Attributes:
        now: The present, in UTC.
    """

    now: datetime
    chance: random.Random

    @property
    def since(self) -> datetime:
        """The beginning of the week."""
        return self.now - DAYS * DAY

    def ago(self, **parts: float) -> datetime:
        """Return an instant before the present, such as `ago(hours=3)`."""
        return self.now - timedelta(**parts)

    def times(self, per_day: int) -> Iterator[datetime]:
        """Yield the instants of tasks of which so many are published on a day."""
        shares = _shares()
        midnight = self.since.replace(hour=0, minute=0, second=0, microsecond=0)
        for day in range(DAYS + 1):
            for n in range(per_day):
                place = bisect(shares, (n + self.chance.random()) / per_day)
                seconds = timedelta(seconds=60 * self.chance.random())
                at = midnight + day * DAY + place * MINUTE + seconds
                if self.since <= at < self.now:
                    yield at

    def every(self, period: timedelta, *, until: datetime) -> Iterator[datetime]:
        """Yield the multiples of a period, as beat's intervals."""
        at = self.since.replace(minute=0, second=0, microsecond=0) + HOUR
        while at < until:
            yield at
            at += period

"""Lines that show how far a soak is, and when it ends."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from endurance.sampling import Sample

#: Seconds between two lines.
REPORT_S = 10.0

MIB = 2**20


@dataclass
class Progress:
    """Reports samples.

    Args:
        tasks: The number of tasks of the soak.
        report: Receives the lines.
    """

    tasks: int
    report: Callable[[str], object]
    _began_at: float = field(default_factory=time.monotonic)
    _reported_at: float = 0.0

    def show(self, sample: Sample) -> None:
        """Report a sample, unless another one was reported just before."""
        now = time.monotonic()
        if now < self._reported_at + REPORT_S or not sample.stored:
            return
        self._reported_at = now
        rate = sample.stored / (now - self._began_at)
        left = timedelta(seconds=max(0, self.tasks - sample.stored) / rate)
        memory = ", ".join(
            f"{name} {bytes_ / MIB:.1f}" for name, bytes_ in sample.memory.items()
        )
        self.report(
            f"{sample.stored:,} of {self.tasks:,} tasks, {rate:,.0f}/s, "
            f"last at {datetime.now() + left:%H:%M:%S}; MiB: {memory}; behind: "
            f"monitor {sample.monitor_lag_s:.1f} s, archiver "
            f"{sample.archiver_lag_s:.0f} s"
        )

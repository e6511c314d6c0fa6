"""Count the finished tasks of a service without a result backend.

The processes of its workers append a line with their process id to one file for each
task. All lines have the same length, so the size of the file gives their number.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

#: Bytes in a line; process ids on Linux have up to seven digits.
LINE_LENGTH = 8

#: Seconds between two looks at the size, about the time of a no-op task.
INTERVAL_S = 0.001

#: Seconds without a finished task after which `wait_for` gives up.
PATIENCE_S = 60.0


def appender(path: Path) -> Callable[[], object]:
    """Return a function that appends a line, also in forked processes."""
    file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    return lambda: os.write(file, b"%*d\n" % (LINE_LENGTH - 1, os.getpid()))


@dataclass(frozen=True)
class Finished:
    """The tasks that workers have finished.

    Attributes:
        path: The file that the workers append to.
    """

    path: Path

    @property
    def count(self) -> int:
        """Return the number of finished tasks."""
        return self.path.stat().st_size // LINE_LENGTH

    @property
    def processes(self) -> set[int]:
        """Return the ids of the processes that ran them."""
        return {int(line) for line in self.path.read_text("ascii").splitlines()}

    def wait_for(self, count: int) -> tuple[int, float]:
        """Wait for a number of tasks; return how many finished, and when in seconds.

        Raises:
            TimeoutError: No task has finished for `PATIENCE_S` seconds.
        """
        seen, since = self.count, time.perf_counter()
        while True:
            now = time.perf_counter()
            if (found := self.count) >= count:
                return found, now
            if found > seen:
                seen, since = found, now
            if now > since + PATIENCE_S:
                raise TimeoutError(f"{found} of {count} tasks finished, then no more")
            time.sleep(INTERVAL_S)

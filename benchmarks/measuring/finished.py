"""How many tasks a service has finished, without asking a result backend.

Its workers' processes append a line for each task to one file, with their process id.
Every line is equally long, so that the size of the file tells their number.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

#: Bytes of a line; Linux has process ids of up to seven digits.
LINE_LENGTH = 8

#: Seconds between two looks at the size: about as long as a no-op task takes.
INTERVAL_S = 0.001

#: Seconds without any finished task after which something is wrong.
PATIENCE_S = 60.0


def appender(path: Path) -> Callable[[], object]:
    """Return a function that appends a line; forked processes may call it too."""
    file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    return lambda: os.write(file, b"%*d\n" % (LINE_LENGTH - 1, os.getpid()))


@dataclass(frozen=True)
class Finished:
    """The tasks that workers have finished.

    Attributes:
        path: The file they append to.
    """

    path: Path

    @property
    def count(self) -> int:
        """How many there are."""
        return self.path.stat().st_size // LINE_LENGTH

    @property
    def processes(self) -> set[int]:
        """The ids of the processes that ran them."""
        return {int(line) for line in self.path.read_text("ascii").splitlines()}

    def wait_for(self, count: int) -> tuple[int, float]:
        """Wait until there are that many; return how many, and the instant in seconds.

        Raises:
            TimeoutError: None was added for `PATIENCE_S` seconds.
        """
        seen, since = self.count, time.perf_counter()
        while True:
            now = time.perf_counter()
            if (found := self.count) >= count:
                return found, now
            if found > seen:
                seen, since = found, now
            if now > since + PATIENCE_S:
                raise TimeoutError(f"{found} of {count} tasks finished, and no more")
            time.sleep(INTERVAL_S)

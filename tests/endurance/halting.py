"""A lock that keeps the producer from publishing while the clocks step."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def halted(clock: Path) -> Iterator[None]:
    """Wait until no round of tasks is published, and let none begin in the block.

    A round is published in such a block too.

    Args:
        clock: The file of the clock.
    """
    with clock.with_suffix(".lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield

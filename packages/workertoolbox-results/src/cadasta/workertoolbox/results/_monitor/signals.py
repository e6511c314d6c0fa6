"""Signals that end a monitor."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from itertools import repeat
from threading import Thread

NUMBERS = (signal.SIGTERM, signal.SIGINT)


def stop_on_signals(stop: Callable[[], object]) -> None:
    """Call a function at the first signal; a second ends the process at once.

    From a thread: a handler runs in the main one, and not before the database's driver
    returns, which a server that says nothing can hold up for ever.
    """
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    signal.set_wakeup_fd(writer)
    for number in NUMBERS:
        # Without a handler nothing is written to the pipe.
        signal.signal(number, lambda *_: None)
    Thread(target=_wait, args=(reader, stop), name="signals", daemon=True).start()


def _wait(reader: int, stop: Callable[[], object]) -> None:
    # Every signal that has a handler comes this way.
    arrived = (os.read(reader, 1)[0] for _ in repeat(None))
    numbers = (number for number in arrived if number in NUMBERS)
    next(numbers)
    stop()
    os._exit(128 + next(numbers))  # as a shell tells of a process that a signal ended

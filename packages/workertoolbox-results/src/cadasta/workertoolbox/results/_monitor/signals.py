"""Signals that stop a monitor."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from itertools import repeat
from threading import Thread

#: Signals that stop a monitor.
STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)


def stop_on_signals(stop: Callable[[], object]) -> None:
    """Call a function on the first SIGTERM or SIGINT; end the process on the second.

    Both happen in a separate thread. Python runs signal handlers in the main thread,
    and only after the database's driver returns, which may take hours if the server
    does not answer.
    """
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    signal.set_wakeup_fd(writer)
    for number in STOP_SIGNALS:
        # Python writes a signal to the pipe only if the signal has a handler.
        signal.signal(number, lambda *_: None)
    Thread(target=_wait, args=(reader, stop), name="signals", daemon=True).start()


def _wait(reader: int, stop: Callable[[], object]) -> None:
    # The pipe gets every signal that has a handler, not only ours.
    arrived = (os.read(reader, 1)[0] for _ in repeat(None))
    numbers = (number for number in arrived if number in STOP_SIGNALS)
    next(numbers)
    stop()
    os._exit(128 + next(numbers))  # The exit code that a shell gives for a signal.

"""Ctrl-C in commands that change something."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Event


@contextmanager
def deferred_interrupt() -> Iterator[Event]:
    """Set an event on the first Ctrl-C; a second one raises `KeyboardInterrupt`."""
    interrupted = Event()

    def remember(*_: object) -> None:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        interrupted.set()

    before = signal.signal(signal.SIGINT, remember)
    try:
        yield interrupted
    finally:
        signal.signal(signal.SIGINT, before)

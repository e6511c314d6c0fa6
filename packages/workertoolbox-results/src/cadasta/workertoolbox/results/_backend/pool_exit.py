"""Let a pool process end without the lock that the processes of a pool share.

Where the broker has no event loop, as on the file system, all processes of billiard's
pool write their results to one pipe, under one lock. A process that ends writes a last
message there, and the main process answers with SIGTERM. billiard blocks that signal
while it holds the lock, but only in one thread. If the process has another one, such as
that of `deferred_starts.py` or Sentry's, the kernel delivers the signal there: the
process dies, the lock stays locked, and no other process of the worker stores a result.
Nothing needs the message, because the main process also waits for the end itself.
"""

from __future__ import annotations

import os
import signal
from typing import Any

from celery.signals import worker_process_init, worker_process_shutdown
from kombu.asynchronous import get_event_loop

#: A process that ends because of a signal has the exit code `signal - 256`.
_SIGNAL_BASE = 256


def connect_signals() -> None:
    """End pool processes that share a lock early, in workers of this process."""
    worker_process_init.connect(_connect_last, dispatch_uid=__name__)


def _connect_last(**_: Any) -> None:
    # In the new process, so that the service's own receivers are called before.
    if get_event_loop() is None:
        worker_process_shutdown.connect(_end, dispatch_uid=__name__)


def _end(exitcode: Any, **_: Any) -> None:
    """End the process as billiard does later: by the signal, or with the exit code."""
    if not isinstance(exitcode, int):
        return  # A task called `sys.exit()` with a text.
    if exitcode + _SIGNAL_BASE in signal.valid_signals():
        # billiard's handler has restored the default action of the signal.
        signal.raise_signal(exitcode + _SIGNAL_BASE)
    os._exit(exitcode)

"""An event loop in a thread, for the requests of a process.

The pages share locks between their requests, which belong to one event loop. Below WSGI
there is no loop, and Django would make one for each request.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Coroutine
from functools import cache
from threading import Lock, Thread
from typing import Any, TypeVar

Result = TypeVar("Result")

_lock = Lock()


def run_in_background(coroutine: Coroutine[Any, Any, Result]) -> Result:
    """Return the result of a coroutine, which runs in the loop of this process."""
    with _lock:
        loop = _loop()
    return asyncio.run_coroutine_threadsafe(coroutine, loop).result()


@cache
def _loop() -> asyncio.AbstractEventLoop:
    loop = asyncio.new_event_loop()
    # A daemon, so that the process can end.
    Thread(target=loop.run_forever, name="workertoolbox-pages", daemon=True).start()
    return loop


def _forget() -> None:
    """Start another loop in a forked process, which has no thread of its parent."""
    global _lock
    _lock = Lock()
    _loop.cache_clear()


os.register_at_fork(after_in_child=_forget)

"""The web server of `tasks web`."""

from __future__ import annotations

import gc
import logging
import signal
import socket

import uvicorn
from starlette.types import ASGIApp

#: Seconds that requests get to end after a signal.
_GRACE_S = 5

#: Numbers of new objects, and of collections of each generation, before the next one.
THRESHOLDS = (50_000, 10, 10)

_SIGNALS = (signal.SIGTERM, signal.SIGINT)


def serve(app: ASGIApp, opened: socket.socket) -> None:
    """Serve an app on a socket until the process gets SIGTERM or SIGINT.

    What proxies say in headers is not believed; see `TrustedProxies`.
    """
    config = uvicorn.Config(
        app,
        log_level="warning",
        access_log=False,
        proxy_headers=False,
        server_header=False,
        timeout_graceful_shutdown=_GRACE_S,
    )
    # `problem_of` logs the errors of pages.
    logging.getLogger("uvicorn.error").addFilter(_is_not_logged_by_pages)
    # When it has ended, uvicorn sends itself the signal that ended it.
    before = {each: signal.signal(each, lambda *_: None) for each in _SIGNALS}
    collect_rarely()
    try:
        uvicorn.Server(config).run(sockets=[opened])
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)


def collect_rarely() -> None:
    """Let Python look for garbage less often, and not among what is loaded now.

    It looks while a page reads thousands of tasks, which are not garbage yet. With its
    defaults that takes a quarter of the time of the page.
    """
    gc.freeze()
    gc.set_threshold(*THRESHOLDS)


def _is_not_logged_by_pages(record: logging.LogRecord) -> bool:
    """Return whether a record is of something else than an error of a page."""
    return not record.getMessage().startswith("Exception in ASGI application")

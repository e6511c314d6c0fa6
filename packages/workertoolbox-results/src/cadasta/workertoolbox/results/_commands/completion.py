"""Completion of names and queues in the shell."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout, suppress
from io import StringIO
from threading import Thread
from typing import Any

import click
from celery import Celery
from celery.app.utils import find_app

from cadasta.workertoolbox.results._store.store import TaskStore

#: Seconds that the database has to answer. Without its answer, the names and queues of
#: the app are completed.
TIMEOUT_S = 1.0


def complete(kind: str) -> Callable[..., list[str]]:
    """Return a function that completes names or queues.

    It completes those of the app and those of tasks in the database. If the app cannot
    be imported, or the database does not answer, theirs are left out without a message,
    because the shell would show the message in the middle of the line.

    Args:
        kind: `name` or `queue`.
    """

    def complete(ctx: click.Context, _: click.Parameter, incomplete: str) -> list[str]:
        with _quiet():
            # Celery does not load the app while a shell asks for completions.
            app = _load(ctx.find_root().params.get("app"))
            known = set() if app is None else _known(app, kind)
        return sorted(each for each in known if each.startswith(incomplete))

    return complete


def _load(name: Any) -> Celery | None:
    # Importing an app may raise anything, and may end the process.
    with suppress(Exception, SystemExit):
        app: Celery = find_app(name)
        return app
    return None


def _known(app: Celery, kind: str) -> set[str]:
    stored: list[str] = []

    def read() -> None:
        with suppress(Exception), TaskStore.for_app(app, timeout_s=TIMEOUT_S) as store:
            stored.extend(store.names() if kind == "name" else store.queues())

    # Connecting may take minutes, for example if packets are dropped. A thread that is
    # still connecting does not keep the process alive.
    reading = Thread(target=read, name="completion", daemon=True)
    reading.start()
    own: Iterable[str] = ()
    with suppress(Exception):
        own = app.tasks if kind == "name" else app.amqp.queues
    reading.join(TIMEOUT_S)
    return {*own, *stored}


@contextmanager
def _quiet() -> Iterator[None]:
    """Suppress everything that is printed or logged in the block."""
    hidden, disabled = StringIO(), logging.root.manager.disable
    with warnings.catch_warnings(), redirect_stdout(hidden), redirect_stderr(hidden):
        warnings.simplefilter("ignore")
        logging.disable(logging.CRITICAL)
        try:
            yield
        finally:
            logging.disable(disabled)

"""Purging that spares the monitor queue, and stores which tasks will not run.

`celery purge`, `celery worker --purge` and `app.control.purge()` purge every queue of
an app, the monitor queue too. The copies in it would be lost, and the purged tasks
would be shown as queued.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

from celery import Celery, states
from celery._state import _get_active_apps
from celery.app.task import Context
from celery.exceptions import TaskRevokedError

from cadasta.workertoolbox.routing._log_text import log_text
from cadasta.workertoolbox.routing._settings import NO_RESULTS
from cadasta.workertoolbox.routing._task_message import find_problem

_logger = logging.getLogger(__name__)

#: Number of tasks that are stored before their messages are removed.
BATCH_SIZE = 100


class PurgingChannel:
    """A mixin for channels of kombu."""

    connection: Any

    def queue_purge(self, queue: str = "", *args: Any, **kwargs: Any) -> Any:
        """Remove the messages of a queue, and store their tasks as revoked.

        The monitor queue of an app is left alone. Without a result backend nothing is
        stored.

        Returns:
            The number of removed messages.
        """
        apps = _toolbox_apps()
        if any(app.conf.PLATFORM_QUEUE_NAME == queue for app in apps):
            _logger.warning(
                "queue %s belongs to the task monitor and was not purged; the monitor "
                "empties it",
                log_text(queue),
            )
            return 0
        app = _find_owner(apps, self.connection.client)
        if app is None or not _stores_results(app):
            return super().queue_purge(queue, *args, **kwargs)
        revocations = _Revocations(app, f"purged from queue {queue}")
        count = 0
        for batch in _batches(self, queue):
            for message in batch:
                revocations.store(message)
            for message in batch:
                message.ack()
            count += len(batch)
        return count


class _Revocations:
    """Stores tasks as revoked, until that fails."""

    def __init__(self, app: Celery, reason: str) -> None:
        self._app = app
        self._reason = reason
        self._is_available = True

    def store(self, message: Any) -> None:
        message.accept = {"application/json"}
        if not self._is_available or message.errors or find_problem(message):
            return
        headers = message.headers
        if "id" not in headers:
            return
        _, _, embedded = message.payload
        try:
            # Unlike `mark_as_revoked`, this also ends the steps that would follow.
            backend: Any = self._app.backend
            backend.mark_as_failure(
                headers["id"],
                TaskRevokedError(self._reason),
                request=Context({**headers, **(embedded or {})}),
                call_errbacks=False,
                state=states.REVOKED,
            )
        except Exception as error:
            self._is_available = False
            _logger.error(
                "cannot store that tasks were %s, they will be shown as queued: %s",
                self._reason,
                log_text(str(error)),
            )


def _toolbox_apps() -> list[Celery]:
    # An app that has not read its configuration has no connection either.
    return [
        app
        for app in _get_active_apps()
        if app.configured and app.conf.get("PLATFORM_QUEUE_NAME")
    ]


def _stores_results(app: Celery) -> bool:
    # Looking at `app.backend` would load it, and an empty queue does not need it.
    backend = app.backend_cls or app.conf.result_backend or "disabled"
    return backend != NO_RESULTS and not str(backend).startswith("disabled")


def _find_owner(apps: list[Celery], client: Any) -> Celery | None:
    """Return the app whose broker a connection leads to."""

    def place(connection: Any) -> Any:
        return connection.virtual_host, connection.transport_options

    for app in apps:
        if place(app.connection_for_write()) == place(client):
            return app
    return apps[0] if len(apps) == 1 else None


def _batches(channel: Any, queue: str) -> Iterator[list[Any]]:
    while batch := list(_take(channel, queue)):
        yield batch


def _take(channel: Any, queue: str) -> Iterator[Any]:
    to_message = getattr(channel, "message_to_python", lambda message: message)
    for _ in range(BATCH_SIZE):
        received = channel.basic_get(queue)
        if received is None:
            return
        yield to_message(received)

"""Transports `sqla` and `sqlalchemy`: queues in a SQL database."""

from __future__ import annotations

import logging
from collections import defaultdict, deque
from collections.abc import Iterator
from contextlib import contextmanager
from json import dumps
from queue import Empty
from threading import RLock
from typing import Any

from cadasta.workertoolbox.routing._extras import extra
from cadasta.workertoolbox.routing._forks import at_leave
from cadasta.workertoolbox.routing._log_text import log_text
from cadasta.workertoolbox.routing._transport_options import only_accepted_options
from cadasta.workertoolbox.routing.transports._copies import with_new_tag
from cadasta.workertoolbox.routing.transports._virtual import TaskChannel, TaskTransport

with extra("postgresql"):
    from kombu.transport import sqlalchemy, virtual
    from sqlalchemy import text
    from sqlalchemy.exc import (
        DBAPIError,
        IntegrityError,
        InterfaceError,
        InternalError,
        OperationalError,
    )

_logger = logging.getLogger(__name__)

#: Errors that say nothing about a statement: the server stops, is a replica now, or
#: waits for a lock; the connection is closed; another process has changed the same row.
_TEMPORARY = (IntegrityError, InterfaceError, InternalError, OperationalError)


class Channel(TaskChannel, sqlalchemy.Channel):
    """kombu's channel, which publishes a task and its copy in one transaction.

    A transaction that fails is rolled back. kombu leaves most of them open, and the
    next statement of the channel fails.

    A message that was read is hidden in the database. kombu drops one that cannot
    return to its queue because the database is away. Here the next channel of this
    process returns it.
    """

    transient_errors = (OSError, *_TEMPORARY)

    #: Messages that have not returned to their queues, by the URL of the database.
    _unreturned: defaultdict[str, deque[Any]] = defaultdict(deque)

    def _open(self) -> Any:
        try:
            return super()._open()
        except DBAPIError as error:
            if error.statement is None:
                raise  # There was no connection.
            # Another process has just created the tables.
            return super()._open()

    def _get_or_create(self, queue: str) -> Any:
        with self._rolled_back_on_error():
            try:
                return super()._get_or_create(queue)
            except IntegrityError:
                # Another process has just created the queue.
                self.session.rollback()
                return super()._get_or_create(queue)

    def put_task(
        self: Any,
        message: dict[str, Any],
        work: list[str],
        copies: list[str],
        **kwargs: Any,
    ) -> None:
        """Put a task and its copies in one transaction; if it is refused, each alone.

        Raises:
            CopyFailed: A copy could not be put, and `copy_failure` is `raise`.
            Exception: The task could not be put; no copy was put either.
        """
        try:
            with self._rolled_back_on_error():
                # First, because a queue that is created ends the transaction.
                records = [self._get_or_create(queue) for queue in (*work, *copies)]
                for record in records:
                    payload = dumps(with_new_tag(message))
                    self.session.add(self.message_cls(payload, record))
                self.session.commit()
        except (InterfaceError, OperationalError):
            raise
        except DBAPIError:
            super().put_task(message, work, copies, **kwargs)

    def _put(self, queue: str, payload: Any, **kwargs: Any) -> None:
        with self._rolled_back_on_error():
            super()._put(queue, payload, **kwargs)

    def _restore(self, message: Any) -> None:
        try:
            super()._restore(message)
        except _TEMPORARY as error:
            self._unreturned[self.connection.client.hostname].append(message)
            _logger.warning(
                "a message returns to queue %s when the database is available again; "
                "it is lost if this process ends before: %s",
                log_text(message.delivery_info["routing_key"]),
                # Without the statement, whose parameters are the message.
                log_text(error.orig),
            )

    def _return_messages(self) -> None:
        """Return the messages that could not return before.

        Raises:
            DBAPIError: The database is still away; no message is lost.
        """
        unreturned = self._unreturned[self.connection.client.hostname]
        while unreturned:
            message = unreturned.popleft()
            try:
                super()._restore(message)
            except BaseException:
                unreturned.appendleft(message)
                raise

    def _purge(self, queue: str) -> Any:
        with self._rolled_back_on_error():
            return super()._purge(queue)

    def _size(self, queue: str) -> Any:
        with self._rolled_back_on_error():
            return super()._size(queue)

    def _get(self: Any, queue: str, timeout: float | None = None) -> dict[str, Any]:
        # Like kombu's method, but a message that cannot be parsed is not lost.
        self._return_messages()
        record = self._get_or_create(queue)
        with self._rolled_back_on_error():
            if self.session.bind.name == "sqlite":
                self.session.execute(text("BEGIN IMMEDIATE TRANSACTION"))
            message = (
                self.session.query(self.message_cls)
                .with_for_update()
                .filter(self.message_cls.queue_id == record.id)
                .filter(self.message_cls.visible != False)  # noqa: E712
                .order_by(self.message_cls.sent_at, self.message_cls.id)
                .first()
            )
            payload = None if message is None else message.payload
            if message is not None:
                message.visible = False
            self.session.commit()
        if payload is None:
            raise Empty()
        parsed: dict[str, Any] = self.read_message(payload, queue)
        return parsed

    def _delete(self: Any, queue: str, *binding: Any, **kwargs: Any) -> None:
        # kombu's method leaves the row of the queue, and messages that were read.
        record = self._get_or_create(queue)
        with self._rolled_back_on_error():
            messages = self.session.query(self.message_cls)
            messages.filter(self.message_cls.queue_id == record.id).delete()
            self.session.delete(record)
            self.session.commit()

    @contextmanager
    def _rolled_back_on_error(self) -> Iterator[None]:
        try:
            yield
        except Exception:
            self.session.rollback()
            raise

    def _engine_from_config(self) -> Any:
        with (
            only_accepted_options(self.connection.client),
            extra("postgresql", url="sqla+postgresql+psycopg2://…"),
        ):
            return super()._engine_from_config()


class Transport(TaskTransport, sqlalchemy.Transport):
    """kombu's transport with the channel above."""

    Channel = Channel
    connection_errors: Any = (*_TEMPORARY, *virtual.Transport.connection_errors)


def _leave_parent() -> object:
    """Replace what all channels share, and return it.

    Connections and messages belong to the parent of a forked process.
    """
    inherited = Channel._engines, Channel._unreturned
    sqlalchemy.Channel._engines = {}
    Channel._unreturned = defaultdict(deque)
    sqlalchemy._MUTEX = RLock()
    return inherited


at_leave(_leave_parent)

"""Transports `sqla` and `sqlalchemy`: queues in a SQL database."""

from __future__ import annotations

from queue import Empty
from threading import RLock
from typing import Any

from cadasta.workertoolbox.routing._extras import extra
from cadasta.workertoolbox.routing._forks import at_leave
from cadasta.workertoolbox.routing._transport_options import only_accepted_options
from cadasta.workertoolbox.routing.transports._virtual import TaskChannel, TaskTransport

with extra("postgresql"):
    from kombu.transport import sqlalchemy, virtual
    from sqlalchemy import text
    from sqlalchemy.exc import OperationalError


class Channel(TaskChannel, sqlalchemy.Channel):
    """kombu's channel, which publishes a task and its copy separately."""

    transient_errors = (OSError, OperationalError)

    def _put(self, queue: str, payload: Any, **kwargs: Any) -> None:
        try:
            super()._put(queue, payload, **kwargs)
        except Exception:
            # kombu rolls back only after some errors; after others the next put would
            # fail.
            self.session.rollback()
            raise

    def _get(self: Any, queue: str, timeout: float | None = None) -> dict[str, Any]:
        # Like kombu's method, but a message that cannot be parsed is not lost.
        record = self._get_or_create(queue)
        if self.session.bind.name == "sqlite":
            self.session.execute(text("BEGIN IMMEDIATE TRANSACTION"))
        try:
            message = (
                self.session.query(self.message_cls)
                .with_for_update()
                .filter(self.message_cls.queue_id == record.id)
                .filter(self.message_cls.visible != False)  # noqa: E712
                .order_by(self.message_cls.sent_at, self.message_cls.id)
                .first()
            )
            if message is None:
                raise Empty()
            message.visible = False
            parsed: dict[str, Any] = self.read_message(message.payload, queue)
            return parsed
        finally:
            self.session.commit()

    def _delete(self: Any, queue: str, *binding: Any, **kwargs: Any) -> None:
        # kombu's method leaves the row of the queue, and messages that were read.
        record = self._get_or_create(queue)
        messages = self.session.query(self.message_cls)
        messages.filter(self.message_cls.queue_id == record.id).delete()
        self.session.delete(record)
        self.session.commit()

    def _engine_from_config(self) -> Any:
        with (
            only_accepted_options(self.connection.client),
            extra("postgresql", url="sqla+postgresql+psycopg2://…"),
        ):
            return super()._engine_from_config()


class Transport(TaskTransport, sqlalchemy.Transport):
    """kombu's transport with the channel above."""

    Channel = Channel
    connection_errors: Any = (
        *sqlalchemy.Transport.connection_errors,
        *virtual.Transport.connection_errors,
    )


def _replace_engines() -> object:
    """Replace the engines that kombu keeps for all channels, and return the old ones.

    Their connections belong to the parent of a forked process.
    """
    inherited = Channel._engines
    sqlalchemy.Channel._engines = {}
    sqlalchemy._MUTEX = RLock()
    return inherited


at_leave(_replace_engines)

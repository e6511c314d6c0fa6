"""Transports `amqp` and `amqps`: RabbitMQ with and without TLS."""

from __future__ import annotations

import os
import re
from contextlib import suppress
from math import isfinite
from time import monotonic
from typing import Any

from amqp import spec
from amqp.exceptions import (
    AccessRefused,
    NotAllowed,
    NotFound,
    PreconditionFailed,
    RecoverableConnectionError,
    ResourceLocked,
)
from kombu.transport import pyamqp

from cadasta.workertoolbox.routing._delays import DELAYED_EXCHANGE, DELIVERY_EXCHANGE
from cadasta.workertoolbox.routing._errors import (
    PublishRefused,
    PublishUnconfirmed,
    Unroutable,
)
from cadasta.workertoolbox.routing._forks import track
from cadasta.workertoolbox.routing._task_queue import EXCHANGE
from cadasta.workertoolbox.routing._transport_options import only_accepted_options
from cadasta.workertoolbox.routing.transports._amqp_channel import (
    DeclaringChannel,
    DeclaringConnection,
)
from cadasta.workertoolbox.routing.transports._amqp_confirms import (
    Confirms,
    publish_bound_s,
    wait_until,
)
from cadasta.workertoolbox.routing.transports._amqp_frames import tolerant_frame_handler
from cadasta.workertoolbox.routing.transports._purging import PurgingChannel

#: RabbitMQ's text when it closes a channel because of its `consumer_timeout`.
_UNACKNOWLEDGED = re.compile("delivery acknowledgement on channel .* timed out")

#: Exchanges whose messages are confirmed, like those of the task queues.
_CONFIRMED_EXCHANGES = (EXCHANGE, DELAYED_EXCHANGE, DELIVERY_EXCHANGE)


class _BoundedWait:
    """Bound the waits for replies of the broker, on connections of the toolbox.

    A broker that is frozen, or that blocks a publisher, does not answer; py-amqp would
    wait for it without a limit, even to close the connection.
    """

    connection: Any

    def wait(self, method: Any, *args: Any, **kwargs: Any) -> Any:
        """Wait for a reply.

        Raises:
            RecoverableConnectionError: The broker does not answer.
        """
        connection = self.connection
        wait = super().wait
        bound_s = connection.confirm_timeout_s if connection else None
        if bound_s is None or kwargs.get("timeout") is not None:
            return wait(method, *args, **kwargs)
        try:
            return wait(method, *args, **{**kwargs, "timeout": bound_s})
        except TimeoutError as error:
            # A late reply would be taken for that to the next request.
            connection.collect()
            raise RecoverableConnectionError(
                f"RabbitMQ did not answer within {bound_s:g} s"
            ) from error


class Channel(PurgingChannel, _BoundedWait, DeclaringChannel):
    """kombu's channel, which confirms tasks only, and waits for them with a bound.

    Events, replies of remote control and results are not confirmed: a worker that waits
    for them consumes no tasks meanwhile.
    """

    _confirm_selected: bool

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._returned: Unroutable | None = None
        self._confirms = Confirms()
        self.events["basic_return"].add(self._keep_returned)
        self.events["basic_ack"].add(self._confirms.accept)
        self.events["basic_nack"].add(self._confirms.refuse)

    def _keep_returned(
        self, error: Exception, exchange: str, routing_key: str, message: Any
    ) -> None:
        self._returned = Unroutable(exchange, routing_key)

    def _on_close(self, reply_code: int, reply_text: str, *method: int) -> None:
        try:
            super()._on_close(reply_code, reply_text, *method)
        except PreconditionFailed as error:
            if not _UNACKNOWLEDGED.search(reply_text):
                raise
            # Celery stops a worker after py-amqp's error, and reconnects after this.
            raise RecoverableConnectionError(reply_text, error.method_sig) from error

    def basic_publish_confirm(
        self, msg: Any, exchange: str = "", routing_key: str = "", **kwargs: Any
    ) -> Any:
        """Publish a message, and wait for the confirmation of a task.

        On a connection of an app without the toolbox, every message is confirmed.

        Raises:
            PublishRefused: A queue refuses a task. After py-amqp's own error Celery
                would send the task again, also to the queues that accepted it.
            PublishUnconfirmed: The broker does not answer, or blocks publishers.
            Unroutable: No queue is bound for a task.
        """
        connection = self.connection
        if connection is None or not connection.confirms_tasks_only:
            return super().basic_publish_confirm(msg, exchange, routing_key, **kwargs)
        confirm_timeout_s = kwargs.pop("confirm_timeout", None)
        if exchange in _CONFIRMED_EXCHANGES or exchange in connection.task_exchanges:
            bound_s = confirm_timeout_s or kwargs.pop("timeout", None)
            try:
                self._publish_task(msg, exchange, routing_key, bound_s, **kwargs)
            except NotFound:
                # Somebody has deleted the exchange, so the message reached no queue.
                if not self.declare_again():
                    raise
                self._publish_task(msg, exchange, routing_key, bound_s, **kwargs)
            return None
        if self._confirm_selected:
            self._confirms.expect()
        return self._basic_publish(msg, exchange, routing_key, **kwargs)

    def _publish_task(
        self,
        msg: Any,
        exchange: str,
        routing_key: str,
        bound_s: float | None,
        **kwargs: Any,
    ) -> None:
        connection = self.connection
        bound_s = bound_s or publish_bound_s(connection)
        deadline = monotonic() + bound_s
        if connection.alarm and not wait_until(
            connection, connection.is_unblocked, bound_s=bound_s
        ):
            raise self._unconfirmed(routing_key, bound_s, is_sent=False)
        if not self._confirm_selected:
            self._confirm_selected = True
            self._confirms.restart()
            self.confirm_select(nowait=True)
        self._returned = None
        self._confirms.expect()
        try:
            self._write(msg, exchange, routing_key, bound_s, **kwargs)
        except RecoverableConnectionError as error:
            if connection.alarm or monotonic() > deadline:
                raise self._unconfirmed(routing_key, bound_s, is_sent=False) from error
            raise
        remaining_s = max(deadline - monotonic(), 0)
        if not wait_until(connection, self._confirms.is_settled, bound_s=remaining_s):
            raise self._unconfirmed(routing_key, bound_s, is_sent=True)
        # RabbitMQ returns an unroutable message before it confirms it.
        if self._returned is not None:
            raise self._returned
        if self._confirms.is_refused():
            raise PublishRefused(routing_key)

    def _write(
        self, msg: Any, exchange: str, routing_key: str, bound_s: float, **kwargs: Any
    ) -> None:
        timeout = bound_s if isfinite(bound_s) else None
        kwargs.update(mandatory=True, timeout=timeout)
        connection = self.connection
        try:
            self._basic_publish(msg, exchange, routing_key, **kwargs)
        except RecoverableConnectionError:
            # A broker that reads no more may have said why; then the buffers filled.
            with suppress(Exception):
                wait_until(connection, lambda: bool(connection.alarm), bound_s=0.1)
            raise

    def _unconfirmed(
        self, routing_key: str, bound_s: float, *, is_sent: bool
    ) -> PublishUnconfirmed:
        connection = self.connection
        error = PublishUnconfirmed(routing_key, bound_s, connection.alarm, is_sent)
        # Without the handshake that closes a connection: the broker would not answer.
        connection.collect()
        return error


class Connection(_BoundedWait, DeclaringConnection):
    """kombu's connection with the channel above and a tolerant frame handler.

    Attributes:
        alarm: Why the broker blocks this connection, in its own words; None if it does
            not. RabbitMQ says so when the connection publishes during an alarm.
        confirm_timeout_s: Seconds to wait for a confirm or a reply; None for
            connections of apps without the toolbox, which wait as kombu's do.
    """

    Channel = Channel

    # py-amqp does not read the reason.
    _METHODS = {
        **pyamqp.Connection._METHODS,
        spec.Connection.Blocked: spec.method(spec.Connection.Blocked, "s"),
    }

    def __init__(
        self, *args: Any, confirm_timeout: float | None = None, **kwargs: Any
    ) -> None:
        self.alarm: str | None = None
        self.confirm_timeout_s = confirm_timeout
        super().__init__(*args, frame_handler=tolerant_frame_handler, **kwargs)

    @property
    def confirms_tasks_only(self) -> bool:
        """Whether this is a connection of an app with the toolbox."""
        return self.confirm_timeout_s is not None

    def is_unblocked(self) -> bool:
        """Return whether the broker accepts messages."""
        return self.alarm is None

    def _on_blocked(self, reason: str = "") -> Any:
        self.alarm = reason or "unknown"
        return super()._on_blocked()

    def _on_unblocked(self) -> Any:
        self.alarm = None
        return super()._on_unblocked()


class Transport(pyamqp.Transport):
    """kombu's transport with the connection above."""

    Connection = Connection
    Channel = Channel
    #: A queue is not found while its node is down: workers wait and connect again.
    connection_errors = (*pyamqp.Transport.connection_errors, NotFound, ResourceLocked)

    def __init__(self, client: Any, **kwargs: Any) -> None:
        super().__init__(client, **kwargs)
        track(self)

    def abandon(self) -> object:
        """Close this process's copy of the socket; that of the parent stays open."""
        client: Any = self.client
        connection = client._connection
        if connection is not None and connection._transport is not None:
            sock, connection._transport.sock = connection._transport.sock, None
            if sock is not None:
                os.close(sock.detach())
            connection.collect()
        return connection

    def establish_connection(self) -> Any:
        """Connect without the options of other brokers, which py-amqp refuses."""
        client: Any = self.client
        with only_accepted_options(client, "confirm_publish", "confirm_timeout"):
            try:
                return super().establish_connection()
            except (AccessRefused, NotAllowed) as error:
                # The same error as kombu's, which says who refused.
                text = f"{error.reply_text} (broker {client.as_uri()})"
                raise type(error)(text, error.method_sig) from error

    @staticmethod
    def is_permanent(error: BaseException) -> bool:
        """Return whether the broker refuses this service for good.

        That is a login, a virtual host, or a queue for which the user has no
        permission; not a queue that somebody has deleted.
        """
        return isinstance(error, AccessRefused | NotAllowed) or (
            isinstance(error, PreconditionFailed) and "inequivalent arg" in str(error)
        )

    @staticmethod
    def is_temporary(error: BaseException) -> bool:
        """Return whether the broker answers, but refuses for now."""
        return isinstance(error, NotFound | ResourceLocked)


class SSLTransport(Transport, pyamqp.SSLTransport):
    """The same transport with TLS."""

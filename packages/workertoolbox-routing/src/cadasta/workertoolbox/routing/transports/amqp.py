"""RabbitMQ, with and without TLS."""

from __future__ import annotations

from typing import Any

from amqp.exceptions import MessageNacked
from kombu.transport import pyamqp

from cadasta.workertoolbox.routing._errors import PublishRefused, Unroutable
from cadasta.workertoolbox.routing._topology import EXCHANGE
from cadasta.workertoolbox.routing._transport_options import without_options_of_others
from cadasta.workertoolbox.routing.transports._amqp_frames import reading_every_frame


class Channel(pyamqp.Channel):
    """kombu's channel; where publishes are confirmed, a task must reach a queue."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._returned: Unroutable | None = None
        self.events["basic_return"].add(self._keep_returned)

    def _keep_returned(
        self, error: Exception, exchange: str, routing_key: str, message: Any
    ) -> None:
        self._returned = Unroutable(exchange, routing_key)

    def basic_publish_confirm(
        self, msg: Any, exchange: str = "", routing_key: str = "", **kwargs: Any
    ) -> Any:
        """Publish, and wait until the broker has the message.

        Raises:
            PublishRefused: A queue does not take it. Celery would send it again, to
                the others too.
            Unroutable: No queue is bound for a task.
        """
        if exchange == EXCHANGE:
            kwargs["mandatory"] = True
        self._returned = None
        try:
            result = super().basic_publish_confirm(msg, exchange, routing_key, **kwargs)
        except MessageNacked as error:
            if exchange != EXCHANGE:
                raise
            raise PublishRefused(routing_key) from error
        # Only now: the confirmation comes after the return.
        if self._returned is not None:
            raise self._returned
        return result


class Connection(pyamqp.Connection):
    """kombu's connection with the channel above; it gets over unreadable messages."""

    Channel = Channel

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, frame_handler=reading_every_frame, **kwargs)


class Transport(pyamqp.Transport):
    """kombu's transport with the connection above."""

    Connection = Connection

    def establish_connection(self) -> Any:
        """Connect; py-amqp takes no option that it does not know."""
        with without_options_of_others(self.client, "confirm_publish"):
            return super().establish_connection()


class SSLTransport(Transport, pyamqp.SSLTransport):
    """The same, with TLS."""

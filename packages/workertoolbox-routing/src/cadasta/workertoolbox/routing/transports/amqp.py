"""Transports `amqp` and `amqps`: RabbitMQ with and without TLS."""

from __future__ import annotations

from typing import Any

from amqp.exceptions import MessageNacked
from kombu.transport import pyamqp

from cadasta.workertoolbox.routing._errors import PublishRefused, Unroutable
from cadasta.workertoolbox.routing._topology import EXCHANGE
from cadasta.workertoolbox.routing._transport_options import only_accepted_options
from cadasta.workertoolbox.routing.transports._amqp_frames import tolerant_frame_handler


class Channel(pyamqp.Channel):
    """kombu's channel, with an error for a task that reaches no queue.

    RabbitMQ reports it only where publishes are confirmed, which is the default.
    """

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
        """Publish a message and wait for the confirmation.

        Raises:
            PublishRefused: A queue refuses a task. After py-amqp's own error Celery
                would send the task again, also to the queues that accepted it.
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
        # RabbitMQ returns an unroutable message before it confirms it.
        if self._returned is not None:
            raise self._returned
        return result


class Connection(pyamqp.Connection):
    """kombu's connection with the channel above and a tolerant frame handler."""

    Channel = Channel

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, frame_handler=tolerant_frame_handler, **kwargs)


class Transport(pyamqp.Transport):
    """kombu's transport with the connection above."""

    Connection = Connection

    def establish_connection(self) -> Any:
        """Connect without the options of other brokers, which py-amqp refuses."""
        with only_accepted_options(self.client, "confirm_publish"):
            return super().establish_connection()


class SSLTransport(Transport, pyamqp.SSLTransport):
    """The same transport with TLS."""

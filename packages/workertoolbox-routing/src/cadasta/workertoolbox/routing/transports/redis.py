"""Transports `redis`, `rediss` and `sentinel`."""

from __future__ import annotations

from typing import Any

from cadasta.workertoolbox.routing._errors import BrokerRefused
from cadasta.workertoolbox.routing._extras import extra
from cadasta.workertoolbox.routing.transports._virtual import TaskChannel, TaskTransport

with extra("redis", "redis"):
    from kombu.transport import redis
    from redis.exceptions import ConnectionError, TimeoutError

    from cadasta.workertoolbox.routing.transports import _redis_errors as errors
    from cadasta.workertoolbox.routing.transports._redis_fetch import AtomicFetchChannel
    from cadasta.workertoolbox.routing.transports._redis_put import AtomicPutChannel


class Channel(AtomicFetchChannel, AtomicPutChannel):
    """kombu's channel, which fetches a message, and publishes a task, in one step.

    Unacknowledged messages lie in Redis with their exchange and routing key, and any
    worker returns them after the visibility timeout. So they are pinned to their queue
    before they are stored there.
    """

    from_transport_options = (
        *redis.Channel.from_transport_options,
        *TaskChannel.from_transport_options,
    )
    transient_errors = (OSError, ConnectionError, TimeoutError)
    visibility_timeout = redis.Channel.visibility_timeout
    broadcasts = True
    connection_class: Any = errors.Connection
    connection_class_ssl: Any = errors.SSLConnection
    _pool: Any
    _async_pool: Any

    def __init__(self, connection: Any, *args: Any, **kwargs: Any) -> None:
        """Open the channel.

        Raises:
            BrokerRefused: Redis refuses the login or the database.
        """
        with errors.refusals_named(connection.client.as_uri()):
            super().__init__(connection, *args, **kwargs)

    def _has_queue(self, queue: str, **kwargs: Any) -> bool:
        # kombu's method ignores the option `global_keyprefix`.
        return bool(self._size(queue) > 0)

    def remove_stored_binding(self: Any, exchange: str, *binding: str) -> None:
        """Remove a binding from the keys in which services look it up."""
        member = self.sep.join(binding)
        with self.conn_or_acquire() as client:
            for key in (self.keyprefix_queue, self.keyprefix_binding_permanent):
                client.srem(key % (exchange,), member)

    def abandon(self: Any) -> None:
        """Close this process's copies of the sockets; those of the parent stay open.

        The pools would do so too, but wait for a lock that a thread of the parent may
        hold as long as this process runs.
        """
        pools = (self._pool, self._async_pool)
        self._pool = self._async_pool = None
        self._sentinel_manager = self._async_sentinel_manager = None
        for pool in filter(None, pools):
            for each in (*pool._available_connections, *pool._in_use_connections):
                each.disconnect()


class SentinelChannel(Channel, redis.SentinelChannel):
    """The same channel for servers behind Redis Sentinel."""

    from_transport_options = (
        *redis.SentinelChannel.from_transport_options,
        *TaskChannel.from_transport_options,
    )
    connection_class = errors.SentinelConnection
    connection_class_ssl = errors.SentinelSSLConnection


class Transport(TaskTransport, redis.Transport):
    """kombu's transport with the channel above.

    A server that cannot write at the moment counts as a lost connection.
    """

    Channel = Channel
    connection_errors: Any = (
        *redis.Transport.connection_errors,
        *errors.TEMPORARY_ERRORS,
    )
    refusals = (BrokerRefused,)

    @staticmethod
    def is_permanent(error: BaseException) -> bool:
        """Return whether the broker refuses this service for good."""
        return isinstance(error, BrokerRefused)

    @staticmethod
    def is_temporary(error: BaseException) -> bool:
        """Return whether the broker answers, but refuses for now."""
        return isinstance(error, errors.TEMPORARY_ERRORS)


class SentinelTransport(Transport, redis.SentinelTransport):
    """kombu's transport for Redis Sentinel with the channel above."""

    Channel = SentinelChannel

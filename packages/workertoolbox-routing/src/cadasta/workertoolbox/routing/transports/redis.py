"""Transports `redis`, `rediss` and `sentinel`."""

from __future__ import annotations

from cadasta.workertoolbox.routing._extras import extra
from cadasta.workertoolbox.routing.transports._virtual import TaskChannel, TaskTransport

with extra("redis", "redis"):
    from kombu.transport import redis
    from redis.exceptions import ConnectionError, TimeoutError

    from cadasta.workertoolbox.routing.transports._redis_fetch import AtomicFetchChannel


class Channel(AtomicFetchChannel):
    """kombu's channel, which fetches atomically and publishes copies separately.

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

    def abandon(self) -> None:
        """Drop the pools: redis-py recognizes a fork and closes only its own copies."""
        self._disconnect_pools()


class SentinelChannel(Channel, redis.SentinelChannel):
    """The same channel for servers behind Redis Sentinel."""

    from_transport_options = (
        *redis.SentinelChannel.from_transport_options,
        *TaskChannel.from_transport_options,
    )


class Transport(TaskTransport, redis.Transport):
    """kombu's transport with the channel above."""

    Channel = Channel


class SentinelTransport(TaskTransport, redis.SentinelTransport):
    """kombu's transport for Redis Sentinel with the channel above."""

    Channel = SentinelChannel

"""Redis, with TLS and sentinels."""

from __future__ import annotations

from kombu.transport import redis
from redis.exceptions import ConnectionError, TimeoutError

from cadasta.workertoolbox.routing.transports._redis_fetch import AtomicFetchChannel
from cadasta.workertoolbox.routing.transports._virtual import TaskChannel, TaskTransport


class Channel(AtomicFetchChannel):
    """kombu's channel, with tasks and copies kept apart, and no message lost.

    What a reader has not acknowledged lies in Redis with exchange and routing key, and
    any worker returns it after the visibility timeout: it is pinned before that.
    """

    from_transport_options = (
        *redis.Channel.from_transport_options,
        *TaskChannel.from_transport_options,
    )
    transient_errors = (OSError, ConnectionError, TimeoutError)
    visibility_timeout = redis.Channel.visibility_timeout


class SentinelChannel(Channel, redis.SentinelChannel):
    """The same, behind sentinels."""

    from_transport_options = (
        *redis.SentinelChannel.from_transport_options,
        *TaskChannel.from_transport_options,
    )


class Transport(TaskTransport, redis.Transport):
    """kombu's transport with the channel above."""

    Channel = Channel


class SentinelTransport(TaskTransport, redis.SentinelTransport):
    """kombu's transport with the channel above."""

    Channel = SentinelChannel

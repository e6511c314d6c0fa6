"""Redis, with TLS and sentinels."""

from __future__ import annotations

from queue import Empty
from typing import Any

from kombu.transport import redis
from redis.exceptions import ConnectionError, TimeoutError

from cadasta.workertoolbox.routing.transports._virtual import TaskChannel, TaskTransport


class Reading(TaskChannel):
    """What a channel does with an item of a list, which Redis has handed out for good.

    What a reader has not acknowledged lies in Redis with exchange and routing key, and
    any worker returns it after the visibility timeout: it is pinned before that.
    """

    def _brpop_read(self: Any, **options: Any) -> bool:
        # kombu's own, which ends on an item that it cannot read.
        try:
            try:
                read = self.client.parse_response
                popped = read(self.client.connection, "BRPOP", **options)
            except self.connection_errors:
                self.client.connection.disconnect()
                raise
            if not popped:
                raise Empty()
            key, item = popped
            queue = self._queue_of(key)
            self._queue_cycle.rotate(queue)
            self.connection._deliver(self.open(item, queue), queue)
            return True
        finally:
            self._in_poll = None
            self._flush_brpop_reauth()

    def _get(self: Any, queue: str, timeout: float | None = None) -> dict[str, Any]:
        with self.conn_or_acquire() as client:
            keys = [self._q_for_pri(queue, step) for step in self.priority_steps]
            items = (client.rpop(key) for key in keys)
            item = next((item for item in items if item is not None), None)
            self._maybe_update_queues_expire(client, queue)
        if item is None:
            raise Empty()
        opened: dict[str, Any] = self.open(item, queue)
        return opened

    def _queue_of(self: Any, key: bytes | str) -> str:
        """Return the queue of a list: it has one for each priority."""
        name = key.decode() if isinstance(key, bytes) else key
        return name.rsplit(self.sep, 1)[0]


class Channel(Reading, redis.Channel):
    """kombu's channel, with tasks and copies kept apart."""

    from_transport_options = (
        *redis.Channel.from_transport_options,
        *TaskChannel.from_transport_options,
    )
    transient_errors = (OSError, ConnectionError, TimeoutError)
    visibility_timeout = redis.Channel.visibility_timeout


class SentinelChannel(Reading, redis.SentinelChannel):
    """The same, behind sentinels."""

    from_transport_options = (
        *redis.SentinelChannel.from_transport_options,
        *TaskChannel.from_transport_options,
    )
    transient_errors = Channel.transient_errors
    visibility_timeout = redis.SentinelChannel.visibility_timeout


class Transport(TaskTransport, redis.Transport):
    """kombu's transport with the channel above."""

    Channel = Channel


class SentinelTransport(TaskTransport, redis.SentinelTransport):
    """kombu's transport with the channel above."""

    Channel = SentinelChannel

"""Take a message from Redis and note that it is held in one step.

kombu takes one with `BRPOP`, and notes with its next request that it holds it: a reader
that is killed or cut off in between takes the message along. Here a script does both on
the server, so that a message always lies in its queue or among those not acknowledged.

A reader that found nothing waits by `BLMOVE` from one end of a list to the same end,
which takes nothing and ends when there is something; the script is sent with it, and
runs right after.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from queue import Empty
from time import monotonic, time
from typing import Any
from uuid import uuid4

from kombu.transport import redis, virtual
from kombu.utils.json import dumps, loads

from cadasta.workertoolbox.routing.transports._unreadable import UNREADABLE
from cadasta.workertoolbox.routing.transports._virtual import TaskChannel

#: Seconds that a reader of one queue waits at most; it looks for messages with another
#: priority than 0 in between, which lie in lists of their own.
WAIT_S = 1.0

#: The same for a reader of several queues, which can wait for one of them only.
WAIT_IN_TURN_S = 0.1

#: Takes the first message there is, and returns it as kombu keeps what is held: with an
#: exchange, the default one, and a routing key, by which it returns to its queue.
#: It may be sent again where no answer came, and answers the same then. What is no JSON
#: is not held: kombu would end on it when it returns what is held for too long.
TAKE = """
local held = redis.call('HGET', KEYS[1], ARGV[1])
if held then return held end
for i = 3, #KEYS do
    local message = redis.call('RPOP', KEYS[i])
    if message then
        held = '[' .. message .. ', "", ' .. ARGV[i + 1] .. ']'
        if ARGV[3] == '1' and pcall(cjson.decode, held) then
            redis.call('HSET', KEYS[1], ARGV[1], held)
            redis.call('ZADD', KEYS[2], ARGV[2], ARGV[1])
        end
        return held
    end
end
return false
"""


class QoS(redis.QoS):
    """What a channel has read and not acknowledged."""

    def append(self, message: Any, delivery_tag: str) -> None:
        """Keep a message; what the script took is noted in Redis already."""
        if delivery_tag in self.channel.taken:
            self.channel.taken.remove(delivery_tag)
            virtual.QoS.append(self, message, delivery_tag)
        else:
            super().append(message, delivery_tag)


class AtomicFetchChannel(TaskChannel, redis.Channel):
    """kombu's channel, which loses no message when its process does.

    Without `ack_emulation` nothing is held.
    """

    QoS = QoS

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        #: The tags of messages that are on their way to who reads them.
        self.taken: set[str] = set()
        self._has_found = False
        self._is_waiting = False
        self._coming = ""
        super().__init__(*args, **kwargs)

    def basic_consume(
        self,
        queue: str,
        no_ack: bool,
        callback: Callable[[Any], Any],
        consumer_tag: str,
        **kwargs: Any,
    ) -> Any:
        """Consume a queue; without acknowledgements nothing stays held."""

        def forget(message: Any) -> Any:
            self._forget(message)
            return callback(message)

        told = forget if no_ack else callback
        return super().basic_consume(queue, no_ack, told, consumer_tag, **kwargs)

    def basic_get(self, queue: str, no_ack: bool = False, **kwargs: Any) -> Any:
        """Take a message if there is one; without acknowledgement it is not held."""
        message = super().basic_get(queue, no_ack=no_ack, **kwargs)
        if no_ack and message is not None:
            self._forget(message)
        return message

    def close(self) -> None:
        """Close; where the server is gone, what is on its way is held there."""
        # kombu's own fails then when it is called first, and otherwise when again.
        with suppress(Empty, *self.connection_errors):
            if self._in_poll:
                self._brpop_read()
        super().close()

    def _forget(self, message: Any) -> None:
        tag = message.delivery_tag
        if tag in self.taken:
            self.taken.remove(tag)
            self.qos.ack(tag)

    def _get(self, queue: str, timeout: float | None = None) -> Any:
        tag = str(uuid4())
        with self.conn_or_acquire() as client:
            held = client.execute_command(*self._taking([queue], tag))
            self._maybe_update_queues_expire(client, queue)
        message, _ = self._read(held, tag)
        return message

    def _brpop_start(self, timeout: float | None = None) -> None:
        queues = self._queue_cycle.consume(len(self.active_queues))
        if not queues:
            return
        self._coming = str(uuid4())
        commands = [self._taking(queues, self._coming)]
        self._is_waiting = not self._has_found
        if self._is_waiting:
            key = f"{self.global_keyprefix}{queues[0]}"
            longest_s = WAIT_S if len(queues) == 1 else WAIT_IN_TURN_S
            wait_s = min(self.brpop_timeout or longest_s, longest_s)
            commands.insert(0, ("BLMOVE", key, key, "RIGHT", "RIGHT", wait_s))
        connection = self.client.connection
        self._in_poll = connection
        self._brpop_sent_at = monotonic()
        connection.send_packed_command(connection.pack_commands(commands))

    def _brpop_read(self, **options: Any) -> bool:
        try:
            held = self._answer(**options)
            self._has_found = held is not None
            message, queue = self._read(held, self._coming)
            self._queue_cycle.rotate(queue)
            self.connection._deliver(message, queue)
            return True
        finally:
            self._in_poll = None
            self._flush_brpop_reauth()

    def _answer(self, **options: Any) -> bytes | None:
        client, connection = self.client, self.client.connection
        try:
            if self._is_waiting:
                client.parse_response(connection, "BLMOVE", **options)
            answer: bytes | None = client.parse_response(connection, "EVAL", **options)
        except Exception:
            # There may be another answer, to be taken for one of the next command.
            connection.disconnect()
            raise
        return answer

    def _taking(self, queues: list[str], tag: str) -> tuple[Any, ...]:
        """Return the command that takes the first message of these queues."""
        lists = [
            (self._q_for_pri(queue, priority), dumps(queue))
            for priority in self.priority_steps
            for queue in queues
        ]
        names = [self.unacked_key, self.unacked_index_key, *(key for key, _ in lists)]
        keys = [f"{self.global_keyprefix}{name}" for name in names]
        values = [tag, time(), int(self.ack_emulation), *(queue for _, queue in lists)]
        return ("EVAL", TAKE, len(keys), *keys, *values)

    def _read(self, held: bytes | None, tag: str) -> tuple[dict[str, Any], str]:
        """Return a message and its queue from what the script answers.

        Raises:
            Empty: There is none.
        """
        if held is None:
            raise Empty()
        raw, _, name = held[1:-1].rpartition(b', "", ')
        queue: str = loads(name)
        message = self.open(raw, queue)
        message["properties"]["delivery_tag"] = tag
        # What cannot be read is held as it is told, not as it lay in the queue.
        if self.ack_emulation and UNREADABLE not in (message.get("headers") or {}):
            self.taken.add(tag)
        return message, queue

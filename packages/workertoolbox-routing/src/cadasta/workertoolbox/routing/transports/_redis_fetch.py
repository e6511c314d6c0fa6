"""Fetch a message from Redis and store it as unacknowledged in one step.

kombu takes a message with `BRPOP`, and stores it as unacknowledged with its next
request. A reader that is killed or loses its connection in between loses the message.
Here a script does both on the server, so a message is always either in its queue or
among the unacknowledged ones.

If a reader finds nothing, its next request begins with `BLMOVE` from one end of a list
to the same end. This moves nothing, and returns as soon as the list has a message. The
script is in the same request and runs right after it.
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

from cadasta.workertoolbox.routing._headers import UNREADABLE
from cadasta.workertoolbox.routing._task_queue import EXCHANGE
from cadasta.workertoolbox.routing.transports._copies import with_new_tag
from cadasta.workertoolbox.routing.transports._virtual import TaskChannel

#: Longest wait in seconds of a reader of one queue. kombu keeps one list for each
#: priority step; the reader waits for the first and checks the others between waits.
WAIT_S = 1.0

#: Longest wait in seconds of a reader of several queues, which can wait for only one.
WAIT_FOR_ONE_OF_SEVERAL_S = 0.1

#: Seconds of the first wait after a message; each wait is twice as long as the one
#: before. The next step of a chain may arrive in any list, and soon.
FIRST_WAIT_S = 0.002

#: Number of fetches after which the waits are no longer doubled.
_MANY = 10

#: Takes the first message, stores it as unacknowledged, and returns it in the form that
#: kombu stores: with the default exchange, and with its queue as the routing key, so
#: that it returns there. The script may be sent again if no response arrives; it then
#: returns the message that it has already stored under the same tag. A message that is
#: not JSON is not stored: kombu would fail on it when it returns messages after the
#: visibility timeout.
FETCH_SCRIPT = """
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
    """The unacknowledged messages of a channel."""

    def append(self, message: Any, delivery_tag: str) -> None:
        """Add a message; Redis has it already if the script fetched it."""
        if delivery_tag in self.channel.stored_tags:
            self.channel.stored_tags.remove(delivery_tag)
            virtual.QoS.append(self, message, delivery_tag)
        else:
            super().append(message, delivery_tag)


class AtomicFetchChannel(TaskChannel, redis.Channel):
    """kombu's channel with an atomic fetch: a killed process loses no message.

    With `ack_emulation=False` messages are not stored as unacknowledged.
    """

    QoS = QoS

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        #: Delivery tags of messages that the script has stored as unacknowledged and
        #: that have not been delivered yet.
        self.stored_tags: set[str] = set()
        #: Number of fetches without a message since the last one with a message. It
        #: starts high: before the first message, waits are long.
        self._empty_fetches = _MANY
        #: The queue of the last message, in which the next one is most likely.
        self._last_queue = ""
        self._is_waiting = False
        self._pending_tag = ""
        super().__init__(*args, **kwargs)

    @property
    def active_queues(self) -> list[str]:
        """The consumed queues with lists, which fanout queues have in kombu too.

        kombu takes the messages of a fanout queue from its exchange alone. A task that
        is sent to it by its name, such as a rerun, would stay in its list.
        """
        lists = list(super().active_queues)
        if self.active_fanout_queues:
            named = {queue for *_, queue in self.find_bindings(EXCHANGE)}
            lists += sorted(self.active_fanout_queues & named)
        return lists

    def basic_consume(
        self,
        queue: str,
        no_ack: bool,
        callback: Callable[[Any], Any],
        consumer_tag: str,
        **kwargs: Any,
    ) -> Any:
        """Consume a queue; with `no_ack` each message is acknowledged on delivery."""

        def acknowledge_first(message: Any) -> Any:
            self._acknowledge_stored(message)
            return callback(message)

        on_message = acknowledge_first if no_ack else callback
        return super().basic_consume(queue, no_ack, on_message, consumer_tag, **kwargs)

    def basic_get(self, queue: str, no_ack: bool = False, **kwargs: Any) -> Any:
        """Return a message or None; with `no_ack` the message is acknowledged."""
        message = super().basic_get(queue, no_ack=no_ack, **kwargs)
        if no_ack and message is not None:
            self._acknowledge_stored(message)
        return message

    def close(self) -> None:
        """Close the channel after reading the response to a pending fetch.

        If the server is gone, a message that was fetched stays unacknowledged on it.
        """
        # kombu's `close` reads a pending response too, but fails if the server is gone.
        with suppress(Empty, *self.connection_errors):
            if self._in_poll:
                self._brpop_read()
        super().close()

    def _acknowledge_stored(self, message: Any) -> None:
        tag = message.delivery_tag
        if tag in self.stored_tags:
            self.stored_tags.remove(tag)
            self.qos.ack(tag)

    def _deliver_fanout_message(self, message: dict[str, Any], exchange: str) -> Any:
        # Every worker gets the same message. If one does not acknowledge it, kombu
        # returns it to the lists of all queues of the exchange.
        if exchange in self.connection.copies:
            message = self.pin(with_new_tag(message), self._fanout_to_queue[exchange])
        return super()._deliver_fanout_message(message, exchange)

    def _get(self, queue: str, timeout: float | None = None) -> Any:
        tag = str(uuid4())
        with self.conn_or_acquire() as client:
            response = client.execute_command(*self._fetch_command([queue], tag))
            self._maybe_update_queues_expire(client, queue)
        message, _ = self._parse_response(response, tag)
        return message

    def _brpop_start(self, timeout: float | None = None) -> None:
        queues = self._queue_cycle.consume(len(self.active_queues))
        if not queues:
            return
        self._pending_tag = str(uuid4())
        commands = [self._fetch_command(queues, self._pending_tag)]
        self._is_waiting = self._empty_fetches > 0
        if self._is_waiting:
            queue = self._last_queue if self._last_queue in queues else queues[0]
            key = f"{self.global_keyprefix}{queue}"
            wait_s = self._wait_s(len(queues))
            commands.insert(0, ("BLMOVE", key, key, "RIGHT", "RIGHT", wait_s))
        connection = self.client.connection
        self._in_poll = connection
        self._brpop_sent_at = monotonic()
        connection.send_packed_command(connection.pack_commands(commands))

    def _brpop_read(self, **options: Any) -> bool:
        try:
            response = self._read_response(**options)
            self._empty_fetches = 0 if response is not None else self._empty_fetches + 1
            message, queue = self._parse_response(response, self._pending_tag)
            self._last_queue = queue
            self._queue_cycle.rotate(queue)
            self.connection._deliver(message, queue)
            return True
        finally:
            self._in_poll = None
            self._flush_brpop_reauth()

    def _wait_s(self, queues: int) -> float:
        """Return how long the server waits for a message in one of some queues."""
        longest_s = WAIT_S if queues == 1 else WAIT_FOR_ONE_OF_SEVERAL_S
        doubled_s = FIRST_WAIT_S * 2.0 ** min(self._empty_fetches - 1, _MANY)
        return min(self.brpop_timeout or longest_s, longest_s, doubled_s)

    def _read_response(self, **options: Any) -> bytes | None:
        """Read the response to the wait, if there was one, and return the script's."""
        client, connection = self.client, self.client.connection
        try:
            if self._is_waiting:
                client.parse_response(connection, "BLMOVE", **options)
            response: bytes | None = client.parse_response(
                connection, "EVAL", **options
            )
        except Exception:
            # A late response would be taken for the response to the next command.
            connection.disconnect()
            raise
        return response

    def _fetch_command(self, queues: list[str], tag: str) -> tuple[Any, ...]:
        """Return the command that fetches the first message of these queues."""
        lists = [
            (self._q_for_pri(queue, priority), dumps(queue))
            for priority in self.priority_steps
            for queue in queues
        ]
        names = [self.unacked_key, self.unacked_index_key, *(key for key, _ in lists)]
        keys = [f"{self.global_keyprefix}{name}" for name in names]
        values = [tag, time(), int(self.ack_emulation), *(queue for _, queue in lists)]
        return ("EVAL", FETCH_SCRIPT, len(keys), *keys, *values)

    def _parse_response(
        self, response: bytes | None, tag: str
    ) -> tuple[dict[str, Any], str]:
        """Return the message and its queue from a response of the script.

        Raises:
            Empty: The queues are empty.
        """
        if response is None:
            raise Empty()
        raw, _, name = response[1:-1].rpartition(b', "", ')
        queue: str = loads(name)
        message = self.read_message(raw, queue)
        message["properties"]["delivery_tag"] = tag
        # For an unreadable message kombu stores the substitute, not the raw content.
        if self.ack_emulation and UNREADABLE not in (message.get("headers") or {}):
            self.stored_tags.add(tag)
        return message, queue

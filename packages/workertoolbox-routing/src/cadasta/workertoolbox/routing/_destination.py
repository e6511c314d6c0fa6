"""The places that a task can be published to, and the one that its options name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from kombu import Exchange, Queue

from cadasta.workertoolbox.routing._declaration import Declaration
from cadasta.workertoolbox.routing._delays import (
    DELAYED_EXCHANGE,
    DELIVERY_EXCHANGE,
    without_delay,
)
from cadasta.workertoolbox.routing._errors import UnknownQueue, UntrackedExchange
from cadasta.workertoolbox.routing._similar_queue import find_similar_queue
from cadasta.workertoolbox.routing._task_queue import (
    EXCHANGE,
    Binding,
    OwnQueue,
    TaskQueue,
    bindings_of,
    by_name,
    dead_letter_exchange,
    task_exchange,
)

#: Options that name a destination.
OPTIONS = ("queue", "exchange", "routing_key", "exchange_type", "declare")

#: Exchanges in which a routing key is the name of a queue: the task exchange, those of
#: RabbitMQ's delays, and the nameless exchange. Celery's retry names each of them.
_BY_NAME = (None, "", EXCHANGE, DELAYED_EXCHANGE, DELIVERY_EXCHANGE)


class Destination(NamedTuple):
    """Where a task is published.

    Attributes:
        queue: A declared queue that gets the task.
        exchange: The exchange that sends it to this queue, and a copy to the monitor.
        routing_key: The key, in the task exchange the name of the queue.
    """

    queue: Queue
    exchange: Exchange
    routing_key: str

    @property
    def route(self) -> dict[str, Any]:
        """The options with which a router names this destination.

        The queue is given as it is bound to the task exchange: Celery reads the routing
        key of a task with an ETA there, which RabbitMQ's delays deliver by name.
        """
        route: dict[str, Any] = {"queue": by_name(self.queue)}
        if self.exchange.name != EXCHANGE:
            route.update(exchange=self.exchange, routing_key=self.routing_key)
        return route

    @property
    def options(self) -> dict[str, Any]:
        """The options of a publish to this destination."""
        if self.exchange is self.queue.exchange and self.exchange.name == EXCHANGE:
            return {"queue": self.queue}
        return {
            # For its delivery mode.
            "queue": TaskQueue(self.queue.name, self.exchange, self.routing_key),
            "exchange": self.exchange.name,
            "routing_key": self.routing_key,
            "exchange_type": self.exchange.type,
        }


class Destinations:
    """The declared queues and exchanges, and which exchanges send the monitor a copy.

    Args:
        queues: The work queues, then the monitor queue.
    """

    def __init__(self, queues: tuple[Queue, ...]) -> None:
        *work_queues, monitor = queues
        self.queues = {queue.name: queue for queue in work_queues}
        self._exchanges = {
            each.exchange.name: each.exchange
            for queue in queues
            for each in bindings_of(queue)
        }
        self._copied = {each.exchange.name for each in bindings_of(monitor)}
        # The retry of a dead letter names it; only operators may have bound a queue.
        dead = {dead_letter_exchange(queue) for queue in queues}
        self._by_name = {*_BY_NAME, *(dead - self._exchanges.keys())}

    def find(self, options: Mapping[str, Any], task: str) -> Destination | None:
        """Return the destination that options name, or None if they name none.

        As in Celery, an exchange and a routing key win over a queue, and a routing key
        replaces that of a queue with a topic exchange. What to declare is only checked:
        every message carries the declaration that it needs.

        Args:
            options: Options of `apply_async`, a route, or the arguments of a publish.
            task: Name of the task, for the error messages.

        Raises:
            UnknownQueue: The options name a queue that is not declared, or a key that
                is that of no declared queue.
            UntrackedExchange: The options name an exchange that is not declared, so
                that it sends the monitor no copies.
        """
        exchange = _name(options.get("exchange"))
        self._check_exchange(exchange, task)
        for entity in options.get("declare") or ():
            self._check_declared(entity, task)
        named, key = options.get("queue"), options.get("routing_key")
        queue = self._get(named, task) if named else None
        # Celery's retry passes the routing key of a delayed task with its delay.
        key = without_delay(key) if isinstance(key, str) else key
        if exchange not in self._by_name:
            return self._in_exchange(self._exchanges[exchange], key, queue)
        if exchange is None and isinstance(queue, OwnQueue):
            if key and key != queue.name:
                return self._sent_to(queue, str(key))
        if key:
            return self.named(self._get(key, task))
        if queue is None:
            return None
        # The router's own choice, see `Destination.route`.
        is_by_name = isinstance(named, Queue) and _name(named.exchange) == EXCHANGE
        return self.named(queue) if is_by_name else self.sent_to(queue)

    def sent_to(self, queue: Queue) -> Destination:
        """Return where Celery publishes a task for a queue.

        That is the exchange of the queue, if it is a topic or a fanout exchange. Celery
        sends a task to a queue with a direct exchange by the name of the queue.
        """
        exchange = queue.exchange
        if exchange.name == EXCHANGE or exchange.type == "direct":
            return self.named(queue)
        return self._through(queue, exchange, queue.routing_key)

    def named(self, queue: Queue) -> Destination:
        """Return the destination that sends a task to one queue alone."""
        is_alone = queue.exchange.name == EXCHANGE
        exchange = queue.exchange if is_alone else task_exchange()
        return Destination(queue, exchange, queue.name)

    def _in_exchange(self, exchange: Exchange, key: Any, queue: Any) -> Destination:
        if queue is not None and not key:
            if exchange.type == "direct":
                return self.named(queue)
            key = queue.routing_key
        return self._published(exchange, str(key or ""), queue)

    def _sent_to(self, queue: Queue, key: str) -> Destination:
        destination = self.sent_to(queue)
        if destination.exchange.name == EXCHANGE:
            return destination
        return self._published(destination.exchange, key, queue)

    def _published(
        self, exchange: Exchange, key: str, named: Queue | None
    ) -> Destination:
        """Return a destination in an exchange, with the named queue if it gets it."""
        bound = [
            queue
            for queue in self.queues.values()
            for each in bindings_of(queue)
            if each.exchange.name == exchange.name and _matches(exchange, each, key)
        ]
        if not bound:
            raise UnknownQueue(key or exchange.name)
        queue = named if named is not None and named in bound else bound[0]
        # On Redis, the key of a fanout exchange is part of what workers subscribe to.
        return self._through(queue, exchange, key or queue.routing_key)

    def _through(self, queue: Queue, exchange: Exchange, key: str) -> Destination:
        # The retry of a dead letter names the exchange of dead letters, for example.
        if exchange.name not in self._copied:
            return self.named(queue)
        return Destination(queue, exchange, key)

    def _get(self, queue: Any, task: str) -> Queue:
        name = _name(queue)
        if not isinstance(name, str) or name not in self.queues:
            raise UnknownQueue(str(name), find_similar_queue(str(name), self.queues))
        declared = self.queues[name]
        if isinstance(queue, Queue):
            self._check_exchange(_name(queue.exchange), task)
        return declared

    def _check_exchange(self, name: Any, task: str) -> None:
        if name not in self._by_name and name not in self._exchanges:
            raise UntrackedExchange(str(name), task)

    def _check_declared(self, entity: Any, task: str) -> None:
        if isinstance(entity, Exchange):
            self._check_exchange(entity.name, task)
        elif not isinstance(entity, Declaration):
            self._get(entity, task)


def is_delayed(options: Mapping[str, Any]) -> bool:
    """Return whether Celery has chosen RabbitMQ's delays for a task with an ETA."""
    key = options.get("routing_key")
    return (
        _name(options.get("exchange")) == DELAYED_EXCHANGE
        and isinstance(key, str)
        and without_delay(key) != key
    )


def _matches(exchange: Exchange, bound: Binding, key: str) -> bool:
    if exchange.type == "topic":
        return _match_words(bound.routing_key.split("."), key.split("."))
    return exchange.type == "fanout" or bool(bound.routing_key == key)


def _match_words(pattern: list[str], words: list[str]) -> bool:
    """Return whether a topic exchange of AMQP matches the words of a routing key."""
    if not pattern:
        return not words
    first, *others = pattern
    if first == "#":
        return any(_match_words(others, words[n:]) for n in range(len(words) + 1))
    return bool(words) and first in ("*", words[0]) and _match_words(others, words[1:])


def _name(entity: Any) -> Any:
    return entity.name if isinstance(entity, Exchange | Queue) else entity

"""The work queue that the options of a task name."""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any

from kombu import Exchange, Queue

from cadasta.workertoolbox.routing._declaration import Declaration
from cadasta.workertoolbox.routing._delays import (
    DELAYED_EXCHANGE,
    DELIVERY_EXCHANGE,
    without_delay,
)
from cadasta.workertoolbox.routing._errors import UnknownQueue, UntrackedExchange
from cadasta.workertoolbox.routing._topology import EXCHANGE

#: Options that name a destination.
OPTIONS = ("queue", "exchange", "routing_key", "exchange_type", "declare")

#: Exchanges that may be named: the task exchange, those of RabbitMQ's delays, and the
#: nameless exchange, in which a routing key is the name of a queue. Celery's retry
#: names each of them.
_EXCHANGES = (None, "", EXCHANGE, DELAYED_EXCHANGE, DELIVERY_EXCHANGE)


def find_destination(
    options: Mapping[str, Any], queues: Mapping[str, Queue], task: str
) -> Queue | None:
    """Return the work queue that options name, or None if they name none.

    As in Celery, a routing key wins over a queue. The exchange and its type, and what
    to declare, are only checked: every task is published to the task exchange, and
    every message carries the declaration that it needs.

    Args:
        options: Options of `apply_async`, a route, or the arguments of a publish.
        queues: The work queues by name.
        task: Name of the task, for the error messages.

    Raises:
        UnknownQueue: The options name a queue that is not declared.
        UntrackedExchange: The options name an exchange that sends the monitor no
            copies.
    """
    _check_exchange(options.get("exchange"), task)
    for entity in options.get("declare") or ():
        _check_declared(entity, queues, task)
    found = None
    if queue := options.get("queue"):
        found = _find(queue, queues, task)
    if key := options.get("routing_key"):
        # Celery's retry passes the routing key of a delayed task with its delay.
        found = _find(without_delay(key) if isinstance(key, str) else key, queues, task)
    return found


def is_delayed(options: Mapping[str, Any]) -> bool:
    """Return whether Celery has chosen RabbitMQ's delays for a task with an ETA."""
    key = options.get("routing_key")
    return (
        _name(options.get("exchange")) == DELAYED_EXCHANGE
        and isinstance(key, str)
        and without_delay(key) != key
    )


def _find(queue: Any, queues: Mapping[str, Queue], task: str) -> Queue:
    name = _name(queue)
    if not isinstance(name, str) or name not in queues:
        nearest = get_close_matches(str(name), queues, n=1)
        raise UnknownQueue(str(name), *nearest)
    if isinstance(queue, Queue):
        _check_exchange(queue.exchange, task)
    return queues[name]


def _check_exchange(exchange: Any, task: str) -> None:
    name = _name(exchange)
    if name not in _EXCHANGES:
        raise UntrackedExchange(str(name), task)


def _check_declared(entity: Any, queues: Mapping[str, Queue], task: str) -> None:
    if isinstance(entity, Exchange):
        _check_exchange(entity, task)
    elif not isinstance(entity, Declaration):
        _find(entity, queues, task)


def _name(entity: Any) -> Any:
    return entity.name if isinstance(entity, Exchange | Queue) else entity

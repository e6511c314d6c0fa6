"""The work queue of a task that a service without the toolbox has published.

Its message says no more than the exchange and the routing key, which is the name of a
queue only where every queue is bound by its name.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any

from celery import Celery
from kombu import Exchange, Queue

from cadasta.workertoolbox.results._headers import QUEUE, work_queue

#: Pairs of an exchange and a routing key whose queue is remembered.
_MAX_REMEMBERED = 1000


class WorkQueues:
    """The queues that an app declares, found by an exchange and a routing key."""

    def __init__(self, app: Celery) -> None:
        self._app = app
        self._bound_queue = lru_cache(_MAX_REMEMBERED)(self._find_bound)

    def find(self, delivery_info: Mapping[str, Any], headers: Mapping[str, Any]) -> str:
        """Return the work queue of a message; the routing key if none is bound to it.

        If several queues are bound, it is the one that the app declares first.

        Args:
            delivery_info: As for `work_queue`.
            headers: As for `work_queue`.
        """
        name = work_queue(delivery_info, headers)
        exchange = delivery_info.get("exchange")
        if not exchange or QUEUE in headers:
            return name
        return self._bound_queue(str(exchange), name) or name

    def _find_bound(self, exchange: str, key: str) -> str | None:
        queues: Mapping[str, Queue] = self._app.amqp.queues
        if key in queues:
            return key
        monitor = self._app.conf.get("PLATFORM_QUEUE_NAME")
        for name, queue in queues.items():
            if name != monitor and any(
                bound.name == exchange and _matches(bound, pattern, key)
                for bound, pattern in _bindings(queue)
            ):
                return name
        return None


def _bindings(queue: Queue) -> Iterable[tuple[Exchange, str]]:
    if queue.exchange is not None:
        yield queue.exchange, queue.routing_key or ""
    for each in queue.bindings:
        if each.exchange is not None:
            yield each.exchange, each.routing_key or ""


def _matches(exchange: Exchange, pattern: str, key: str) -> bool:
    if exchange.type == "topic":
        return _match_words(pattern.split("."), key.split("."))
    return exchange.type == "fanout" or pattern == key


def _match_words(pattern: list[str], words: list[str]) -> bool:
    """Return whether a topic exchange of AMQP matches the words of a routing key."""
    if not pattern:
        return not words
    first, *others = pattern
    if first == "#":
        return any(_match_words(others, words[n:]) for n in range(len(words) + 1))
    return bool(words) and first in ("*", words[0]) and _match_words(others, words[1:])

"""The router, which picks the queue of a task."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cached_property
from typing import Any

from celery.app import routes
from kombu import Queue

from cadasta.workertoolbox.routing._delays import (
    DELAYED_EXCHANGE,
    DELIVERY_EXCHANGE,
    without_delay,
)
from cadasta.workertoolbox.routing._errors import (
    NotJSON,
    UnknownQueue,
    UntrackedExchange,
)
from cadasta.workertoolbox.routing._headers import DISPLAY_REPRS
from cadasta.workertoolbox.routing._topology import (
    DEFAULT_QUEUE,
    EXCHANGE,
    Topology,
)

#: Options with which a caller sets how the arguments are shown.
_REPRS = ("argsrepr", "kwargsrepr")

#: Exchanges that send the monitor copies, and those in the delivery info of a task that
#: Celery publishes again. The nameless exchange takes a queue's name as routing key.
_TRACKED_EXCHANGES = {None, "", EXCHANGE, DELAYED_EXCHANGE, DELIVERY_EXCHANGE}


@dataclass(frozen=True)
class Router:
    """Pick the queue of a task, and attach the declaration of every queue.

    The user's own routes come first, then the work queue named like the part of the
    task's name before the first dot, then the default queue. As in Celery, a queue
    that the caller names wins over all of them.

    Every message carries the declaration because kombu's virtual transports keep
    bindings in memory, one set per connection. A queue that only another connection
    has declared is not bound on this one, and the copies would be lost silently. kombu
    remembers what a connection has declared, so this costs one look-up.
    """

    queues: tuple[Queue, ...]
    routes: Any = None

    def __call__(
        self,
        name: str,
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
        options: dict[str, Any],
        task: Any = None,
        **_: Any,
    ) -> dict[str, Any]:
        """Return the route of a task, and keep its `argsrepr` and `kwargsrepr`.

        Raises:
            UnknownQueue: The caller or a route names a queue that is not declared.
            UntrackedExchange: One of them names an exchange that sends the monitor no
                copies.
            NotJSON: The caller, a route or the task names a serializer other than JSON.
        """
        user_route = None
        if self.routes:
            user_route = self._user_routes.lookup_route(
                name, args, kwargs, options, task
            )
        route = {"queue": self._queue_for(name)} if user_route is None else user_route
        if options or user_route is not None:
            self._check_route({**route, **options}, name)
            _keep_display_reprs(options)
        return {**route, "declare": [self._topology]}

    def __reduce__(self) -> tuple[Any, ...]:
        return Router, (self.queues, self.routes)

    @cached_property
    def _user_routes(self) -> routes.Router:
        return routes.Router(routes.prepare(self.routes))

    @cached_property
    def _topology(self) -> Topology:
        return Topology(self.queues)

    @cached_property
    def _work_queues(self) -> dict[str, Queue]:
        return {queue.name: queue for queue in self.queues[:-1]}

    @cached_property
    def _queues_by_prefix(self) -> dict[str, Queue]:
        # The part of a task's name before the first dot cannot end in `.fifo`.
        fifo = {queue.name.removesuffix(".fifo"): queue for queue in self.queues[:-1]}
        return {**fifo, **self._work_queues}

    def _queue_for(self, name: str) -> Queue:
        prefix, dot, _ = name.partition(".")
        default = self._work_queues[DEFAULT_QUEUE]
        return self._queues_by_prefix.get(prefix, default) if dot else default

    def _check_route(self, route: Mapping[str, Any], name: str) -> None:
        exchange = route.get("exchange")
        exchange = getattr(exchange, "name", exchange)
        if exchange not in _TRACKED_EXCHANGES:
            raise UntrackedExchange(str(exchange), name)
        queue = route.get("queue")
        self._check_queue(getattr(queue, "name", queue))
        # Celery's retry passes the routing key of a delayed task with its delay.
        self._check_queue(without_delay(route.get("routing_key") or "") or None)
        serializer = route.get("serializer")
        if serializer not in (None, "json"):
            raise NotJSON(str(serializer), name)

    def _check_queue(self, name: str | None) -> None:
        if name is not None and name not in self._work_queues:
            nearest = get_close_matches(name, self._work_queues, n=1)
            raise UnknownQueue(name, *nearest)


def _keep_display_reprs(options: dict[str, Any]) -> None:
    """Copy the caller's reprs into a header; for a retry, copy them from the header."""
    headers = options.get("headers") or {}
    earlier = headers.get(DISPLAY_REPRS) or {}
    reprs = {name: options.get(name) or earlier.get(name) for name in _REPRS}
    reprs = {name: text for name, text in reprs.items() if text is not None}
    if reprs:
        options.update(reprs, headers={**headers, DISPLAY_REPRS: reprs})

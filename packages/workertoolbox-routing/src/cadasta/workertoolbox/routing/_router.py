"""The router, which picks the queue of a task."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from difflib import get_close_matches
from functools import cached_property
from typing import Any

from celery.app import routes
from celery.utils.functional import maybe_list
from kombu import Queue

from cadasta.workertoolbox.routing._declaration import Declaration
from cadasta.workertoolbox.routing._destination import (
    OPTIONS,
    Destination,
    Destinations,
)
from cadasta.workertoolbox.routing._errors import (
    UndeclaredQueues,
    UnknownPrefix,
    UnknownQueue,
)
from cadasta.workertoolbox.routing._fixed_settings import DEFAULT_DESTINATION
from cadasta.workertoolbox.routing._forks import leave_parent
from cadasta.workertoolbox.routing._headers import DISPLAY_REPRS
from cadasta.workertoolbox.routing._static_routes import static_routes
from cadasta.workertoolbox.routing._task_queue import OwnQueue
from cadasta.workertoolbox.routing._topology import Topology

#: Options with which a caller sets how the arguments are shown.
_REPRS = ("argsrepr", "kwargsrepr")


@dataclass(frozen=True)
class Router:
    """Pick the queue of a task, and know the declaration that its message needs.

    The user's own routes come first, then the work queue named like the part of the
    task's name before the first dot, unless it was given as a `Queue` object, then the
    default queue. As in Celery, a queue that the caller names wins over all of them.

    Attributes:
        queues: The work queues, then the monitor queue.
        routes: The user's own routes, as in Celery's setting `task_routes`.
        delay_queue_type: RabbitMQ's type of the queues in which ETA tasks wait.
        unknown_prefix: What happens to a task whose prefix is no queue's name: it goes
            to the `default` queue, or the router will `refuse` it.
        default: Celery's settings of the default destination.
    """

    queues: tuple[Queue, ...]
    routes: Any = None
    delay_queue_type: str = "quorum"
    unknown_prefix: str = "default"
    default: Mapping[str, str] = field(default_factory=lambda: DEFAULT_DESTINATION)

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

        The destination is removed from the options, which Celery would prefer.

        Raises:
            UnknownQueue: The caller or a route names a queue that is not declared.
            UntrackedExchange: One of them names an exchange that sends the monitor no
                copies.
            UnknownPrefix: As for `destination_for`.
        """
        leave_parent()
        route: dict[str, Any] = {}
        if self.routes:
            found = self._user_routes.lookup_route(name, args, kwargs, options, task)
            route = {"queue": found} if isinstance(found, str) else dict(found or {})
        given = self._with_queue(options, route)
        destination = (
            (self.find_destination(given, name) if given else None)
            or self.find_destination(route, name)
            or self.destination_for(name)
        )
        for option in OPTIONS:
            options.pop(option, None)
            route.pop(option, None)
        if options:
            _keep_display_reprs(options)
        return {**route, **destination.route}

    def __reduce__(self) -> tuple[Any, ...]:
        return Router, tuple(getattr(self, each.name) for each in fields(self))

    def destination_for(self, name: str) -> Destination:
        """Return the destination of a task whose options and routes name none.

        Raises:
            UnknownPrefix: No queue is named like the part before the first dot, and
                such tasks are refused.
        """
        prefix, dot, _ = name.partition(".")
        if dot and prefix in self._queues_by_prefix:
            return self._destinations.named(self._queues_by_prefix[prefix])
        if dot and self.unknown_prefix == "refuse":
            nearest = get_close_matches(prefix, self._queues_by_prefix, n=1)
            raise UnknownPrefix(name, *nearest)
        return self._destinations.sent_to(
            self._destinations.queues[self.default["task_default_queue"]]
        )

    def check_routes(self) -> None:
        """Check that the queues of all routes are declared.

        What a function or an object returns for a task is only known when it is sent.

        Raises:
            UndeclaredQueues: Some are not. The error lists all of these routes.
        """
        undeclared = []
        for route in static_routes(self.routes):
            try:
                self.find_destination({"queue": route.queue}, route.pattern)
            except UnknownQueue as error:
                undeclared.append((route.pattern, error.name, error.nearest))
        if undeclared:
            raise UndeclaredQueues(tuple(undeclared))

    def find_destination(
        self, options: Mapping[str, Any], name: str
    ) -> Destination | None:
        """Return the destination that options name, or None if they name none.

        Raises:
            UnknownQueue: As for a call.
            UntrackedExchange: As for a call.
        """
        return self._destinations.find(options, name)

    def declarations(self, queue: Queue, *, is_delayed: bool) -> list[Declaration]:
        """Return what must be declared before a message is published.

        Every message carries its declaration because kombu's virtual transports keep
        bindings in memory, one set per connection. A queue that only another connection
        has declared is not bound on this one, and the copies would be lost silently.
        kombu remembers what a connection has declared, so this costs one look-up. The
        queue of the message and the monitor queue have to exist; the others may fail.

        Args:
            queue: The work queue of the message.
            is_delayed: Whether the message goes to RabbitMQ's delays first. In Celery
                only workers declare these, but a producer may start first.
        """
        topology = self._topologies[queue.name]
        return [topology, topology.delays()] if is_delayed else [topology]

    def _with_queue(
        self, options: Mapping[str, Any], route: Mapping[str, Any]
    ) -> Mapping[str, Any]:
        """Return options, with a queue if they name a routing key alone.

        As in Celery, the key is one of the exchange of the queue of the route, or of
        the default queue. For a queue given by name it is the name of a queue.
        """
        key, queues = options.get("routing_key"), self._destinations.queues
        is_alone = not options.get("queue") and options.get("exchange") is None
        if not key or not is_alone or key in queues:
            return options
        named = route.get("queue") or self.default["task_default_queue"]
        queue = queues.get(getattr(named, "name", named))
        return {**options, "queue": queue} if isinstance(queue, OwnQueue) else options

    @cached_property
    def _user_routes(self) -> routes.Router:
        return routes.Router(routes.prepare(self.routes))

    @cached_property
    def _topologies(self) -> dict[str, Topology]:
        return {
            name: Topology(self.queues, name, self.delay_queue_type)
            for name in self._destinations.queues
        }

    @cached_property
    def _destinations(self) -> Destinations:
        return Destinations(self.queues)

    @cached_property
    def _queues_by_prefix(self) -> dict[str, Queue]:
        named = {
            queue.name: queue
            for queue in self.queues[:-1]
            if not isinstance(queue, OwnQueue)
        }
        # The part of a task's name before the first dot cannot end in `.fifo`.
        fifo = {name.removesuffix(".fifo"): queue for name, queue in named.items()}
        return {**fifo, **named}


def find_router(conf: Mapping[str, Any]) -> Router | None:
    """Return the router of an app, or None if the app does not use the toolbox.

    `app.conf.task_routes = …` may have replaced it after the configuration. Then these
    routes are the user's own, as if the configuration had them.

    Args:
        conf: The settings of the app.
    """
    own_routes = conf.get("task_routes")
    for route in maybe_list(own_routes) or ():
        if isinstance(route, Router):
            return route
    if conf.get("PLATFORM_QUEUE_NAME") is None:
        return None
    return Router(
        tuple(conf["task_queues"]),
        own_routes,
        conf["broker_native_delayed_delivery_queue_type"],
        conf["UNKNOWN_PREFIX"],
        {name: conf[name] for name in DEFAULT_DESTINATION},
    )


def _keep_display_reprs(options: dict[str, Any]) -> None:
    """Copy the caller's reprs into a header; for a retry, copy them from the header."""
    headers = options.get("headers") or {}
    earlier = headers.get(DISPLAY_REPRS) or {}
    reprs = {name: options.get(name) or earlier.get(name) for name in _REPRS}
    reprs = {name: text for name, text in reprs.items() if text is not None}
    if reprs:
        options.update(reprs, headers={**headers, DISPLAY_REPRS: reprs})

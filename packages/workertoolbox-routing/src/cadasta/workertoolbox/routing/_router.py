"""Which queue a task goes to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cached_property
from typing import Any

from celery.app import routes
from kombu import Queue

from cadasta.workertoolbox.routing._errors import (
    NotJSON,
    UnknownQueue,
    UntrackedExchange,
)
from cadasta.workertoolbox.routing._topology import (
    DEFAULT_QUEUE,
    DELAYED_EXCHANGE,
    DELIVERY_EXCHANGE,
    EXCHANGE,
    Topology,
    without_delay,
)

#: The header with what a caller wants to be shown of the arguments (`argsrepr` and
#: `kwargsrepr`). Celery writes some into every message, and its retries forget these.
DISPLAY_REPRS = "workertoolbox_shown"
_REPRS = ("argsrepr", "kwargsrepr")

#: Exchanges of which the monitor gets copies, or by which a task has come that Celery
#: publishes again; the nameless one takes a queue's name for a routing key.
_EXCHANGES = {None, "", EXCHANGE, DELAYED_EXCHANGE, DELIVERY_EXCHANGE}


@dataclass(frozen=True)
class Router:
    """Pick a task's queue, and have every queue declared on the way out.

    A route of the user's own comes first; then the part of the task's name before
    the first dot, where a work queue has that name; then the default queue. A queue
    named by the caller wins over all of them, as Celery has it.

    The declaration goes with every message because kombu's virtual transports keep
    bindings in memory, one set per connection: what another connection declared is
    not bound on this one, and its copies would be lost without a word. kombu
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
        """Return the route of a task, and keep what is to be shown of its arguments.

        Raises:
            UnknownQueue: Caller or route name a queue that is not declared.
            UntrackedExchange: They name an exchange that makes no copies.
            NotJSON: They, or the task, name another serializer than JSON.
        """
        users = None
        if self.routes:
            users = self._users.lookup_route(name, args, kwargs, options, task)
        route = {"queue": self._queue_for(name)} if users is None else users
        if options or users is not None:
            self._check({**route, **options}, name)
            _keep_shown(options)
        return {**route, "declare": [self._topology]}

    def __reduce__(self) -> tuple[Any, ...]:
        return Router, (self.queues, self.routes)

    @cached_property
    def _users(self) -> routes.Router:
        return routes.Router(routes.prepare(self.routes))

    @cached_property
    def _topology(self) -> Topology:
        return Topology(self.queues)

    @cached_property
    def _work(self) -> dict[str, Queue]:
        return {queue.name: queue for queue in self.queues[:-1]}

    @cached_property
    def _prefixes(self) -> dict[str, Queue]:
        # A FIFO queue's name ends in `.fifo`, which no first part of a name can.
        fifo = {queue.name.removesuffix(".fifo"): queue for queue in self.queues[:-1]}
        return {**fifo, **self._work}

    def _queue_for(self, name: str) -> Queue:
        prefix, dot, _ = name.partition(".")
        default = self._work[DEFAULT_QUEUE]
        return self._prefixes.get(prefix, default) if dot else default

    def _check(self, route: Mapping[str, Any], name: str) -> None:
        exchange = route.get("exchange")
        exchange = getattr(exchange, "name", exchange)
        if exchange not in _EXCHANGES:
            raise UntrackedExchange(str(exchange), name)
        queue = route.get("queue")
        self._check_queue(getattr(queue, "name", queue))
        # Celery's retry brings a delay along.
        self._check_queue(without_delay(route.get("routing_key") or "") or None)
        serializer = route.get("serializer")
        if serializer not in (None, "json"):
            raise NotJSON(str(serializer), name)

    def _check_queue(self, name: str | None) -> None:
        if name is not None and name not in self._work:
            nearest = get_close_matches(name, self._work, n=1)
            raise UnknownQueue(name, *nearest)


def _keep_shown(options: dict[str, Any]) -> None:
    headers = options.get("headers") or {}
    shown = headers.get(DISPLAY_REPRS) or {}
    shown = {name: options.get(name) or shown.get(name) for name in _REPRS}
    shown = {name: text for name, text in shown.items() if text is not None}
    if shown:
        options.update(shown, headers={**headers, DISPLAY_REPRS: shown})

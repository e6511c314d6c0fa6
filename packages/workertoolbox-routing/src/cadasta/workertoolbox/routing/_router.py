"""Which queue a task goes to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from celery.app import routes
from kombu import Queue

from cadasta.workertoolbox.routing._topology import DEFAULT_QUEUE


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
        options: Mapping[str, Any],
        task: Any = None,
        **_: Any,
    ) -> dict[str, Any]:
        route = self._users.lookup_route(name, args, kwargs, options, task)
        route = {"queue": self._queue_for(name)} if route is None else dict(route)
        return {**route, "declare": list(self.queues)}

    def __reduce__(self) -> tuple[Any, ...]:
        return Router, (self.queues, self.routes)

    @cached_property
    def _users(self) -> routes.Router:
        return routes.Router(routes.prepare(self.routes))

    @cached_property
    def _prefixes(self) -> frozenset[str]:
        return frozenset(queue.name for queue in self.queues[:-1])

    def _queue_for(self, name: str) -> str:
        prefix, dot, _ = name.partition(".")
        return prefix if dot and prefix in self._prefixes else DEFAULT_QUEUE

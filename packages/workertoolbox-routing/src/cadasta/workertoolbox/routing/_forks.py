"""Let a forked process connect for itself, and leave the connections of its parent.

After `os.fork()`, as in `gunicorn --preload`, a child has its parent's connections, and
both would write to the same sockets. kombu drops them only in children of
multiprocessing, where it shuts down the sockets for the parent as well.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from functools import cached_property
from queue import LifoQueue
from threading import Lock, RLock
from typing import Any, Protocol
from weakref import WeakSet

from celery import _state
from celery.utils.functional import maybe_list
from kombu import Connection, pools


class Abandonable(Protocol):
    """A transport that can leave its connection to the parent process."""

    #: The `kombu.Connection` that the transport belongs to.
    client: Any

    @property
    def Channel(self) -> type[Any]:
        """The class of its channels."""

    def abandon(self) -> object:
        """Make the connection unusable in this process, and return what it had.

        It writes nothing, and waits for no lock: a thread of the parent may hold it.
        """


_transports: WeakSet[Abandonable] = WeakSet()

#: The process that the connections belong to.
_owner = os.getpid()

#: What belongs to the parent. It is kept, because the destructors of some clients end
#: their session with the server, wait for a lock, or change a database file in use.
_inherited: list[object] = []


_callbacks: list[Callable[[], object]] = []


def at_leave(callback: Callable[[], object]) -> None:
    """Call a function in each forked process, and keep what it returns, unused."""
    _callbacks.append(callback)


def track(transport: Abandonable) -> None:
    """Remember a transport, for children that this process may fork."""
    _transports.add(transport)


def leave_parent() -> None:
    """Forget the connections of the parent, once in each forked process.

    Python calls this in the child. uWSGI forks without telling Python, so each publish
    calls it too.
    """
    global _owner
    if _owner == os.getpid():
        return
    _owner = os.getpid()
    _inherited.extend(callback() for callback in _callbacks)
    _replace_property_locks(Connection)
    for transport in list(_transports):
        _replace_property_locks(type(transport), transport.Channel)
        _leave(transport)
    for group in (pools.connections, pools.producers):
        for pool in group.values():
            _refill(pool)
    state: Any = _state  # Its stubs know little of it.
    for app in state._get_active_apps():
        _replace_locks(app)


def _leave(transport: Abandonable) -> None:
    _inherited.append(transport)
    # Another thread of the parent may have left it in any state.
    with suppress(Exception):
        _inherited.append(transport.abandon())
    client = transport.client
    if client is not None:
        client._connection = client._default_channel = client._transport = None
        client.declared_entities.clear()


def _refill(pool: Any) -> None:
    """Replace the connections and the lock of a pool, which a thread may hold."""
    _inherited.append((pool._resource, pool._dirty))
    pool._resource, pool._dirty = LifoQueue(), set()
    pool.setup()


def _replace_locks(app: Any) -> None:
    """Replace the locks that a thread of the parent may hold while it publishes."""
    app.clock.mutex = Lock()
    amqp = vars(app).get("amqp")
    dispatcher = amqp and vars(amqp).get("_event_dispatcher")
    if dispatcher:
        dispatcher.mutex = Lock()
    routes = maybe_list(app.conf.get("task_routes")) if app.configured else None
    parts = (app, amqp, *(routes or ()))
    _replace_property_locks(*(type(part) for part in parts))


def _replace_property_locks(*classes: type) -> None:
    """Replace the locks of cached properties, which all objects of a class share.

    kombu's have one, and those of Python before 3.12.
    """
    for each in classes:
        for base in each.__mro__:
            for value in vars(base).values():
                if isinstance(value, cached_property) and hasattr(value, "lock"):
                    value.lock = RLock()


os.register_at_fork(after_in_child=leave_parent)

"""Move the app of a service to a broker and a database in a folder for a while."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

from celery import Celery, _state
from celery.app.utils import find_app
from kombu import pools

from cadasta.workertoolbox.conf._brokers.folder import embedded_settings, make_folder
from cadasta.workertoolbox.conf._settings.celery import URL_VARIABLES
from cadasta.workertoolbox.conf._setup import check_configured
from cadasta.workertoolbox.results import upgrade

#: Seconds between two polls of the broker. Short, because a test waits for several.
POLLING_INTERVAL_S = 0.02

#: Settings that would bypass the folder, or make a worker write somewhere else.
_NEUTRAL: dict[str, Any] = {
    "broker_read_url": None,
    "broker_write_url": None,
    "broker_transport": None,
    "task_always_eager": False,
    "worker_state_db": None,
}

#: The module with Celery's current and default app.
_celery: Any = _state


def find_service(app: Celery | str) -> Celery:
    """Return an app that is configured with the toolbox.

    Args:
        app: The app, or its name as for `celery -A`, such as `proj.app:app`.

    Raises:
        NotConfigured: The app is not configured with the toolbox.
    """
    found: Celery = find_app(app) if isinstance(app, str) else app
    check_configured(found)
    return found


@contextmanager
def embedded(
    app: Celery, folder: str | os.PathLike[str], **settings: Any
) -> Iterator[Celery]:
    """Move an app to a broker and a database in a folder for the duration of a block.

    The app itself is moved, so tasks that were imported before use the folder too. All
    other settings stay in effect, except `task_always_eager`. The tables are created.

    Args:
        app: An app that is configured with the toolbox.
        folder: Created if it does not exist, and not removed.
        settings: Lowercase settings of Celery's, which override those of the folder.

    Raises:
        InvalidFolder: The folder cannot be created.
        NotConfigured: The app is not configured with the toolbox.
    """
    changes = {**_NEUTRAL, **embedded_settings(make_folder(folder, settings))}
    changes["broker_transport_options"]["polling_interval"] = POLLING_INTERVAL_S
    with _reconfigured(find_service(app), {**changes, **settings}):
        upgrade(app.conf.result_backend)
        yield app


@contextmanager
def _reconfigured(app: Celery, changes: Mapping[str, Any]) -> Iterator[None]:
    # Private attributes: Celery has no interface to reconfigure a connected app.
    inner: Any = app
    conf = inner.conf
    before = dict(conf.changes)
    names = os.environ.keys() & URL_VARIABLES.values()
    variables = {name: os.environ.pop(name) for name in names}
    kept = inner._pool, inner._local, inner._backend_cache
    amqp = vars(app).pop("amqp", None)
    current, default = _celery._tls.current_app, _celery.default_app
    inner._pool, inner._local, inner._backend_cache = None, threading.local(), None
    for name, value in changes.items():
        conf[name] = value
    app.set_current()
    app.set_default()
    try:
        yield
    finally:
        _disconnect(app)
        vars(app).pop("amqp", None)
        if amqp is not None:
            vars(app)["amqp"] = amqp
        inner._pool, inner._local, inner._backend_cache = kept
        conf.changes.clear()
        conf.changes.update(before)
        os.environ.update(variables)
        _celery._set_current_app(current)
        _celery.set_default_app(default)


def _disconnect(app: Celery) -> None:
    connection = app.connection_for_write()
    for group in (pools.producers, pools.connections):
        with suppress(KeyError):
            group[connection].force_close_all()
            del group[connection]
    database = getattr(app.backend, "database", None)
    if database is not None:
        database.close()

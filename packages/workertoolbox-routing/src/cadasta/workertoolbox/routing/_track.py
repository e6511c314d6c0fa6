"""Track an app that has its configuration already."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from celery import Celery
from kombu import Queue

from cadasta.workertoolbox.routing._fixed_settings import DEFAULT_DESTINATION
from cadasta.workertoolbox.routing._json_only import JSON_ONLY
from cadasta.workertoolbox.routing._routing import DEFAULTS, Routing
from cadasta.workertoolbox.routing._static_routes import queue_of, static_routes
from cadasta.workertoolbox.routing._task_queue import PublishedQueue

#: Settings of the app that decide where its tasks go.
_KEPT = ("task_routes", "task_create_missing_queue_type", "task_default_queue_type")

#: Settings that are replaced in the app, besides the variables of the toolbox.
_REPLACED = ("task_queues", "task_routes", *DEFAULT_DESTINATION)

#: Options of transports that the toolbox sets for new fleets only.
_OF_NEW_FLEETS = ("region", "queue_name_prefix")


def track(app: Celery, queues: Iterable[str | Queue] = (), **variables: Any) -> None:
    """Copy every task of an app that has its configuration already.

    The app keeps its broker, queues, exchanges, routes and result backend. Call it
    after `app.config_from_object`, and before the app publishes or consumes.

    Args:
        app: The app. Its configuration is read at once.
        queues: The queues that neither `task_queues`, `task_routes` nor
            `beat_schedule` names, for example those that callers name in `apply_async`.
        variables: Variables of `Routing` such as `PLATFORM_QUEUE_NAME`.

    Raises:
        InvalidQueues: A queue cannot be used.
        InvalidSetting: A setting of the app would break tracking.
    """
    if app.conf.get("PLATFORM_QUEUE_NAME"):
        return  # It is tracked already.
    routing = adopt(app.conf, queues, **variables)
    given = app.conf.broker_transport_options or {}
    options = {
        name: value
        for name, value in routing["broker_transport_options"].items()
        if name in given or name not in _OF_NEW_FLEETS
    }
    names = (*_REPLACED, *(name for name in routing if name.isupper()))
    changes = {name: routing[name] for name in names}
    if app.conf.worker_consumer == "celery.worker.consumer:Consumer":
        changes["worker_consumer"] = routing["worker_consumer"]
    app.conf.update(changes, broker_transport_options=options)
    # Celery keeps the queues and routes that it has made of the settings.
    vars(app).pop("amqp", None)


def adopt(
    conf: Mapping[str, Any], queues: Iterable[str | Queue] = (), **variables: Any
) -> Routing:
    """Return the settings with which an app goes on with the queues that it has.

    Args:
        conf: The settings of the app.
        queues: As for `track`.
        variables: As for `track`.

    Raises:
        InvalidQueues: As for `track`.
        InvalidSetting: As for `track`.
    """
    kept = {name: conf[name] for name in _KEPT if conf.get(name)}
    serializers = {name: conf[name] for name in JSON_ONLY if conf.get(name)}
    options = dict(conf.get("broker_transport_options") or {})
    return Routing(
        existing_queues(conf, queues),
        ENV_PREFIX=None,
        broker_url=getattr(conf, "broker_write_url", None) or "amqp://",
        broker_transport_options={"queue_name_prefix": "", **options},
        **kept,
        **serializers,
        **_default_destination(conf),
        **{name: variables[name] for name in DEFAULTS if name in variables},
    )


def existing_queues(
    conf: Mapping[str, Any], further: Iterable[str | Queue] = ()
) -> list[Queue]:
    """Return the queues of an app: of its settings, routes and schedule, and others.

    As in Celery, workers without `-Q` consume only those of `task_queues`, or the
    default queue if there are none.

    Args:
        conf: The settings of the app.
        further: Other queues, or their names.
    """
    declared = conf.get("task_queues") or ()
    if isinstance(declared, Mapping):
        declared = [
            queue if isinstance(queue, Queue) else _from_options(name, queue)
            for name, queue in declared.items()
        ]
    default = conf.get("task_default_queue")
    consumed = [_as_queue(queue) for queue in declared or filter(None, [default])]
    found = {queue.name: queue for queue in consumed}
    entries = (conf.get("beat_schedule") or {}).values()
    scheduled = (
        queue_of(each.get("options") if isinstance(each, Mapping) else each.options)
        for each in entries
    )
    routed = (route.queue for route in static_routes(conf.get("task_routes")))
    named = [*further, default, *scheduled, *routed]
    for queue in map(_as_queue, filter(None, named)):
        found.setdefault(queue.name, PublishedQueue(**queue.as_dict()))
    return list(found.values())


def _as_queue(queue: str | Queue) -> Queue:
    return queue if isinstance(queue, Queue) else Queue(queue)


def _from_options(name: str, options: Mapping[str, Any]) -> Queue:
    # As Celery reads a queue that is given as a dictionary.
    key = options.get("routing_key") or options.get("binding_key") or name
    queue: Queue = Queue.from_dict(name, **{**options, "routing_key": key})
    return queue


def _default_destination(conf: Mapping[str, Any]) -> dict[str, Any]:
    """Return Celery's settings of the default destination that the user has set."""
    exchange, kind = (
        conf.get("task_default_exchange"),
        conf.get("task_default_exchange_type"),
    )
    given = {
        "task_default_queue": conf.get("task_default_queue"),
        "task_default_routing_key": conf.get("task_default_routing_key"),
    }
    if exchange or kind not in (None, "direct"):
        given |= {
            "task_default_exchange": exchange,
            "task_default_exchange_type": kind,
        }
    return {name: value for name, value in given.items() if value}

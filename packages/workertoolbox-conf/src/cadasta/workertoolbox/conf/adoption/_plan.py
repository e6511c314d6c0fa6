"""The steps in which a running fleet adopts the toolbox."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from celery import Celery
from celery.app.defaults import DEFAULTS

from cadasta.workertoolbox.conf._config import Config
from cadasta.workertoolbox.conf._existing import (
    existing_settings,
    find_project,
    with_django,
)
from cadasta.workertoolbox.conf.adoption._order import describe_order
from cadasta.workertoolbox.routing import (
    EXCHANGE,
    bindings_of,
    existing_queues,
    mask_value,
)

#: What to write before the line that configures the app again.
_IMPORT = f"from {__name__.partition('.adoption')[0]} import Config"

#: What a changed setting means for an app, in a few words.
_MEANINGS = {
    "broker_heartbeat": "seconds; a dead connection is noticed within a minute",
    "broker_connection_retry_on_startup": "a worker may start before its broker",
    "result_accept_content": "results are JSON only",
    "result_backend": "new results are stored there",
    "result_extended": "results have the name and the arguments of their task",
    "task_default_exchange": "what is sent to it is copied to the monitor",
    "task_publish_retry_policy": "retries for 5 s if the broker is away, not for 0.6 s",
    "task_retry_on_worker_lost": "if its process is killed, a task runs again as a "
    "retry, which max_retries limits",
    "task_track_started": "tasks that run are shown as STARTED",
    "worker_consumer": "workers leave the queue of the monitor alone",
    "worker_enable_remote_control": "SQS does not support it",
    "worker_prefetch_multiplier": "a message does not wait behind a long task while "
    "another process is idle",
    "worker_send_task_events": "SQS does not support them",
    "broker_transport_options.confirm_publish": "the broker confirms each message",
    "broker_transport_options.visibility_timeout": "the default of kombu, in seconds",
    "broker_transport_options.socket_timeout": "seconds until a dead connection is "
    "noticed",
}

#: Options of the toolbox's own transports, and those that only RabbitMQ's reads.
_OWN_OPTIONS = ("copy_failure", "confirm_timeout")
_OPTIONS_OF_AMQP = ("confirm_publish",)

#: Settings whose changes other lines show, or that keep what they had.
_NOT_SHOWN = ("task_queues", "task_routes")

#: Settings that have the values of the toolbox in an app that `track` tracks.
_SET_BY_TRACK = (
    "task_routes",
    "task_default_exchange",
    "task_default_exchange_type",
    "task_default_routing_key",
)


def queues_of_tasks(app: Celery) -> list[str]:
    """Return the queues that tasks name, as in `@app.task(queue=…)`, and no setting.

    Args:
        app: The app as it is configured. Its modules of tasks are imported.
    """
    app.loader.import_default_modules()
    known = {queue.name for queue in existing_queues(app.conf)}
    named = [getattr(task, "queue", None) for task in app.tasks.values()]
    names = {getattr(queue, "name", queue) for queue in named if queue}
    return sorted(names - known)


def describe_adopted(app: Celery, name: str) -> Iterator[str]:
    """Yield what is left to do for an app that has the toolbox already.

    Args:
        app: The app as it is configured.
        name: The app on the command line, after `-A`.
    """
    if str(app.conf.result_backend).startswith("workertoolbox+"):
        yield (
            f"app {app.main!r} is configured with the toolbox already; nothing to adopt"
        )
        return
    yield (
        f"app {app.main!r} is tracked already, and its results stay where they are; to "
        "store them with the tasks, write Config.from_app(app) in the place of track"
    )
    config = _second_stage(app)
    yield ""
    yield from _describe_changes(app, config)
    yield ""
    yield from describe_order(app, config, name)
    yield ""
    yield "To go back, write track again, and deploy in the opposite order."


def _second_stage(app: Celery) -> Config:
    """Return the configuration of a tracked app, for the settings that it changes.

    Its queues and routes only have their names: they do not change.
    """
    existing = existing_settings(app.conf, ())
    tracked = {
        name: value
        for name, value in existing.items()
        if not name.isupper() and name not in _SET_BY_TRACK
    }
    monitor = app.conf.PLATFORM_QUEUE_NAME
    names = [each.name for each in existing["queues"] if each.name != monitor]
    return Config(**with_django(app.conf, {**tracked, "queues": names}, {}))


def describe(
    app: Celery, config: Config, further: Sequence[str], name: str
) -> Iterator[str]:
    """Yield the lines of a plan: what to write, what changes, in which order to deploy.

    Args:
        app: The app as it is configured.
        config: Its configuration with the toolbox.
        further: Names of the queues that its settings and routes do not name.
        name: The app on the command line, after `-A`.
    """
    yield "Write this after the line that configures the app:"
    yield ""
    yield from _lines_to_write(config, further, find_project(app.conf) is not None)
    yield ""
    yield "Queues, which keep their names, exchanges, keys and arguments:"
    yield ""
    *work_queues, monitor = config["task_queues"]
    for queue in work_queues:
        yield f"    {queue.name:24} {_bound(queue)}"
    yield f"    {monitor.name:24} new: a copy of every task"
    yield ""
    yield from _describe_changes(app, config)
    yield ""
    yield from describe_order(app, config, name)
    yield ""
    yield (
        "To go back, deploy what ran before, in the opposite order, and stop the "
        "monitor. Then"
    )
    yield f"run `celery -A {name} tasks leave` with this configuration: it deletes the"
    yield "queue of the monitor."


def _describe_changes(app: Celery, config: Config) -> Iterator[str]:
    yield "Settings that change:"
    yield ""
    for setting, before, after in _changes(app, config):
        meaning = _MEANINGS.get(setting)
        yield f"    {setting}: {before} → {after}{f' ({meaning})' if meaning else ''}"


def _lines_to_write(
    config: Config, further: Sequence[str], in_project: bool
) -> Iterator[str]:
    arguments = f"app, {json.dumps(further)}" if further else "app"
    yield f"    {_IMPORT}"
    yield ""
    yield f"    app.config_from_object(Config.from_app({arguments}))"
    yield ""
    if in_project:
        # Imported here, because only projects have Django.
        from cadasta.workertoolbox.results.django.database import database_alias

        yield (
            "docs/how-to/django.md explains this line. Tasks and results are stored in "
            f'DATABASES["{database_alias()}"],'
        )
        yield "unless another database is named. The page has a second way, with"
        yield f"WORKERTOOLBOX_QUEUES = {json.dumps(config['QUEUES'])} in the settings."
        yield ""
    yield (
        "For a first stage that leaves results and settings as they are, write "
        f"track({arguments}) of"
    )
    yield "cadasta.workertoolbox.routing instead: see docs/how-to/adopting.md."


def _bound(queue: Any) -> str:
    own = [
        f"{each.exchange.name} ({each.exchange.type}) by {each.routing_key!r}"
        for each in bindings_of(queue)
        if each.exchange.name != EXCHANGE
    ]
    return f"{'; '.join(own) or 'as before'}; new: {EXCHANGE} by its name"


def _changes(app: Celery, config: Config) -> Iterator[tuple[str, str, str]]:
    """Yield each setting of Celery's that changes, with both values, masked."""
    for name in sorted(DEFAULTS):
        if name not in config or name in _NOT_SHOWN:
            continue
        before, after = app.conf.get(name), config[name]
        if name == "broker_transport_options":
            is_amqp = "amqp" in str(config["broker_url"]).partition(":")[0]
            hidden = _OWN_OPTIONS if is_amqp else (*_OWN_OPTIONS, *_OPTIONS_OF_AMQP)
            after = {key: each for key, each in after.items() if key not in hidden}
            yield from _changed_options(name, before or {}, after)
        elif _plain(before) != _plain(after):
            yield name, _shown(name, before), _shown(name, after)


def _changed_options(
    setting: str, before: Mapping[str, Any], after: Mapping[str, Any]
) -> Iterator[tuple[str, str, str]]:
    """Yield the options that change. An empty one is that of a fleet that exists."""
    for option, value in after.items():
        if (value or option in before) and before.get(option) != value:
            shown = _shown(option, before.get(option)), _shown(option, value)
            yield f"{setting}.{option}", *shown


def _plain(value: Any) -> Any:
    """Return a value in which a list equals a tuple."""
    return tuple(value) if isinstance(value, list) else value


def _shown(setting: str, value: Any) -> str:
    return repr(mask_value(setting, value))

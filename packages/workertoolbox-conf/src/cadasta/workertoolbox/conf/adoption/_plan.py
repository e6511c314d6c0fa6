"""The steps in which a running fleet adopts the toolbox."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

from celery import Celery
from celery.app.defaults import DEFAULTS

from cadasta.workertoolbox.conf._config import Config
from cadasta.workertoolbox.routing import (
    EXCHANGE,
    bindings_of,
    existing_queues,
    mask_value,
)

#: What to write before the line that configures the app again.
_IMPORT = f"from {__name__.partition('.adoption')[0]} import Config"

_STEPS = (
    "celery -A {app} tasks upgrade      creates the tables; Celery's own stay",
    "celery -A {app} tasks monitor      once, on any host",
    "deploy the workers: they run the messages of old producers too, untracked",
    "deploy the producers and beat: their tasks are tracked from then on",
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
    arguments = f"app, {json.dumps(further)}" if further else "app"
    yield f"    {_IMPORT}"
    yield ""
    yield f"    app.config_from_object(Config.from_app({arguments}))"
    yield ""
    yield "Queues, which keep their names, exchanges, keys and arguments:"
    yield ""
    *work_queues, monitor = config["task_queues"]
    for queue in work_queues:
        yield f"    {queue.name:24} {_bound(queue)}"
    yield f"    {monitor.name:24} new: a copy of every task"
    yield ""
    yield "Settings that change:"
    yield ""
    for setting, before, after in _changes(app, config):
        yield f"    {setting}: {before} → {after}"
    yield ""
    yield "Deploy in this order:"
    yield ""
    for number, step in enumerate(_STEPS, 1):
        yield f"    {number}. {step.format(app=name)}"
    if not _shares_database(app, config):
        yield (
            "    A service that waits for results is deployed together with the "
            "workers: results are stored elsewhere, and old ones stay where they are."
        )
    yield ""
    yield "To go back, deploy what ran before, in the opposite order."


def _bound(queue: Any) -> str:
    own = [
        f"{each.exchange.name} ({each.exchange.type}) by {each.routing_key!r}"
        for each in bindings_of(queue)
        if each.exchange.name != EXCHANGE
    ]
    return "; ".join([*own, f"{EXCHANGE} by its name"])


def _changes(app: Celery, config: Config) -> Iterator[tuple[str, str, str]]:
    """Yield each setting of Celery's that changes, with both values, masked."""
    for name in sorted(DEFAULTS):
        before = app.conf.get(name)
        if name in config and config[name] != before and name != "task_queues":
            yield (
                name,
                repr(mask_value(name, before)),
                repr(mask_value(name, config[name])),
            )


def _shares_database(app: Celery, config: Config) -> bool:
    before = str(app.conf.result_backend or "").partition("://")[2]
    return bool(before) and config["result_backend"].endswith(before)

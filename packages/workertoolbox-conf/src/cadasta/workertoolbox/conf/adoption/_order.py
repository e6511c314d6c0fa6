"""The order in which the services of a fleet are deployed, and what to heed."""

from __future__ import annotations

from collections.abc import Iterator

from celery import Celery

from cadasta.workertoolbox.conf._config import Config
from cadasta.workertoolbox.conf._existing import find_project

_FIRST_STEPS = (
    "celery -A {app} tasks upgrade      creates the tables; Celery's own stay",
    "celery -A {app} tasks monitor      once, on any host",
)

_STEPS = (
    "deploy the workers: they run the messages of old producers too, which are "
    "untracked unless they went through a topic exchange",
    "deploy the producers and beat: their tasks are tracked from then on",
)

#: The steps of an app that `track` tracks already.
_STEPS_OF_TRACKED = (
    "celery -A {app} tasks upgrade      unless the tables are there",
    "deploy the workers and the monitors",
    "deploy the producers and beat",
)

#: What names the database if the app has none that the toolbox can use.
_VARIABLES = " ".join(
    f"WORKERTOOLBOX_RESULT_DB_{each}"
    for each in ("HOST", "PORT", "NAME", "USER", "PASS")
)

#: Celery's result backends that delete old results themselves.
_EXPIRING = (
    *("redis", "rediss", "sentinel", "cache", "rpc"),
    *("cassandra", "consul", "couchbase", "dynamodb"),
)


def describe_order(app: Celery, config: Config, name: str) -> Iterator[str]:
    """Yield the steps of a deployment.

    Args:
        app: The app as it is configured.
        config: Its configuration with the toolbox.
        name: The app on the command line, after `-A`.
    """
    yield "Deploy in this order:"
    yield ""
    is_tracked = bool(app.conf.get("PLATFORM_QUEUE_NAME"))
    steps = _STEPS_OF_TRACKED if is_tracked else (*_FIRST_STEPS, *_STEPS)
    for number, step in enumerate(steps, 1):
        yield f"    {number}. {step.format(app=name)}"
    if not _shares_database(app, config):
        yield (
            "    A service that waits for results is deployed together with the "
            "workers: results are stored elsewhere, and old ones stay where they are."
        )
        yield ""
        yield from _describe_move(app)


def _describe_move(app: Celery) -> Iterator[str]:
    """Yield what to heed if results move to another database."""
    yield (
        "No chord may be running while results move: its body would never start. Stop "
        "what sends"
    )
    yield (
        "chords, wait until those that run have ended, replace the workers, and start "
        "what sends"
    )
    yield "chords again: see docs/how-to/adopting.md."
    if find_project(app.conf) is None:
        yield ""
        yield (
            "Workers, monitors and services that read results need these variables: "
            f"{_VARIABLES}"
        )
    if str(app.conf.result_backend).partition(":")[0] in _EXPIRING:
        yield ""
        yield (
            "beat gets the entry celery.backend_cleanup, which each night deletes "
            "results older than"
        )
        yield "result_expires; the old backend deletes them without it."


def _shares_database(app: Celery, config: Config) -> bool:
    before = str(app.conf.result_backend or "").partition("://")[2]
    return bool(before) and config["result_backend"].endswith(before)

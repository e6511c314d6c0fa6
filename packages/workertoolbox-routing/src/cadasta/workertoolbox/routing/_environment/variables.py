"""Variables of the toolbox in the environment of a service that only publishes."""

from __future__ import annotations

from importlib.metadata import entry_points
from typing import Any

from cadasta.workertoolbox.routing._environment.celery_settings import CELERY_TYPES
from cadasta.workertoolbox.routing._environment.reading import read_variables

#: Types of the settings that `Routing` takes, by name.
ROUTING_TYPES: dict[str, str] = {
    **CELERY_TYPES,
    "QUEUES": "list",
    "PLATFORM_QUEUE_NAME": "string",
    "QUEUE_PREFIX": "string",
    "COPY_FAILURE": "string",
    "UNKNOWN_PREFIX": "string",
    "SERVICE_VERSION": "string",
    "PREDEFINED_QUEUES": "any",
    "queue_type": "string",
}

#: Variables of the other packages, which services that run tasks use. Services often
#: share one environment.
OTHER_VARIABLES = (
    "ARCHIVE_AFTER",
    "CHORD_UNLOCK_MAX_RETRIES",
    "ERROR_GROUP",
    "LOG_FORMAT",
    "LOST_AFTER",
    "MAX_ARGUMENT_BYTES",
    "MAX_HISTORY_RESULT_BYTES",
    "REDACT",
    "REDACT_RESULTS",
    "RESULT_DB_HOST",
    "RESULT_DB_NAME",
    "RESULT_DB_PASS",
    "RESULT_DB_PORT",
    "RESULT_DB_REQUIRED",
    "RESULT_DB_USER",
    "RETENTION",
    "SENTRY",
)


def read_producer_environment(prefix: str) -> dict[str, Any]:
    """Return the settings that the environment gives, by the names `Routing` takes.

    A result backend that workers use and that is not installed here is left out.

    Args:
        prefix: The prefix of the variables, without the `_`.

    Raises:
        InvalidSetting: The prefix is not valid.
        InvalidVariable: As for `read_variables`.
    """
    values = read_variables(prefix, ROUTING_TYPES, ignored=OTHER_VARIABLES)
    if not _is_usable(values.get("result_backend")):
        del values["result_backend"]
    return values


def _is_usable(result_backend: str | None) -> bool:
    """Return whether this process has the class of a result backend."""
    if not result_backend or not result_backend.startswith("workertoolbox+"):
        return True
    return bool(entry_points(group="celery.result_backends", name="workertoolbox"))

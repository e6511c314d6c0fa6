"""Celery's settings and their types."""

from __future__ import annotations

from celery.app.defaults import NAMESPACES, Option, flatten

_OPTIONS: dict[str, Option] = dict(flatten(NAMESPACES))

#: Celery's integers that are seconds.
_WHOLE_SECONDS = (
    "azureblockblob_connection_timeout",
    "azureblockblob_read_timeout",
    "azureblockblob_retry_initial_backoff_sec",
    "beat_cron_starting_deadline",
    "broker_heartbeat",
    "cosmosdbsql_max_retry_wait_time",
)

#: Celery's floats; all of them are seconds, except one.
_DURATIONS = (
    name
    for name, option in _OPTIONS.items()
    if option.type == "float" and name != "result_backend_max_retries"
)

#: Types of Celery's settings by name: keys of `PARSERS`. For three of them Celery
#: declares a type that does not allow every value.
CELERY_TYPES: dict[str, str] = {
    # One of Celery's types is a class, and the others are names.
    **{
        name: str(getattr(option.type, "__name__", option.type))
        for name, option in _OPTIONS.items()
    },
    **dict.fromkeys(_WHOLE_SECONDS, "seconds"),
    **dict.fromkeys(_DURATIONS, "duration"),
    "broker_use_ssl": "any",
    "task_default_delivery_mode": "any",
    "task_default_priority": "int",
}

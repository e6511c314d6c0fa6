"""Celery's settings: their types, our defaults, and the variables that replace them."""

from __future__ import annotations

from typing import Any

from celery.app.defaults import NAMESPACES, Option, flatten

from cadasta.workertoolbox.conf._settings.variables import QUEUE_TYPE
from cadasta.workertoolbox.results import RESULT_BACKEND

_CELERY_SETTINGS: dict[str, Option] = dict(flatten(NAMESPACES))

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
    for name, option in _CELERY_SETTINGS.items()
    if option.type == "float" and name != "result_backend_max_retries"
)

#: Lowercase settings by name, with the type that `parsing` reads them as. For three of
#: them Celery declares a type that does not allow every value; `queue_type` belongs to
#: routing.
SETTINGS: dict[str, Option] = {
    **_CELERY_SETTINGS,
    **{name: Option(type="seconds") for name in _WHOLE_SECONDS},
    **{name: Option(type="duration") for name in _DURATIONS},
    "broker_use_ssl": Option(type="any"),
    "task_default_delivery_mode": Option(type="any"),
    "task_default_priority": Option(type="int"),
    QUEUE_TYPE.name: Option(type=QUEUE_TYPE.type),
}

#: Defaults of ours for settings of Celery's, on every broker.
CELERY_DEFAULTS: dict[str, Any] = {
    "broker_url": "sqs://",
    "result_backend": RESULT_BACKEND,
    "result_extended": True,
    "task_track_started": True,
}

#: Environment variables that Celery reads itself, by the setting that each replaces.
URL_VARIABLES = {
    "broker_url": "CELERY_BROKER_URL",
    "broker_read_url": "CELERY_BROKER_READ_URL",
    "broker_write_url": "CELERY_BROKER_WRITE_URL",
    "result_backend": "CELERY_RESULT_BACKEND",
}

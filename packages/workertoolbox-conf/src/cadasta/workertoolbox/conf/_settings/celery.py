"""Celery's settings, with the types that the environment's values are read by."""

from __future__ import annotations

from celery.app.defaults import NAMESPACES, Option, flatten

from cadasta.workertoolbox.conf._settings.variables import ROUTINGS

_CELERYS: dict[str, Option] = dict(flatten(NAMESPACES))

#: Celery's numbers that are whole seconds. Its floats are all seconds but one.
_WHOLE_SECONDS = (
    "azureblockblob_connection_timeout",
    "azureblockblob_read_timeout",
    "azureblockblob_retry_initial_backoff_sec",
    "beat_cron_starting_deadline",
    "broker_heartbeat",
    "cosmosdbsql_max_retry_wait_time",
)
_DURATIONS = (
    name
    for name, option in _CELERYS.items()
    if option.type == "float" and name != "result_backend_max_retries"
)

#: Celery's settings, in lowercase, and the one of routing's that looks like them. Of
#: three, Celery says that they are strings, and fails on the digits of a number.
SETTINGS: dict[str, Option] = {
    **_CELERYS,
    **{name: Option(type="seconds") for name in _WHOLE_SECONDS},
    **{name: Option(type="duration") for name in _DURATIONS},
    "broker_use_ssl": Option(type="any"),
    "task_default_delivery_mode": Option(type="any"),
    "task_default_priority": Option(type="int"),
    **{name: Option(type=variable.type) for name, variable in ROUTINGS.items()},
}

"""Celery's settings: their types, our defaults, and the variables that replace them."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from cadasta.workertoolbox.conf._settings.variables import QUEUE_TYPE
from cadasta.workertoolbox.results import RESULT_BACKEND
from cadasta.workertoolbox.routing import CELERY_TYPES

#: Types of lowercase settings by name, as the environment's text is parsed.
#: `queue_type` belongs to routing.
SETTINGS: dict[str, str] = {**CELERY_TYPES, QUEUE_TYPE.name: QUEUE_TYPE.type}

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


def with_kept_results(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings with which results in a SQL database do not expire by default.

    The history of tasks needs them: a task whose result is deleted would be shown as
    queued again. `celery … tasks purge` deletes both. In another result backend they
    would only take space, so Celery's default of a day stays.

    Args:
        values: Settings, rendered.
    """
    backend = os.environ.get(URL_VARIABLES["result_backend"], values["result_backend"])
    is_sql = str(backend).startswith(("workertoolbox+", "db+"))
    return {"result_expires": None, **values} if is_sql else dict(values)

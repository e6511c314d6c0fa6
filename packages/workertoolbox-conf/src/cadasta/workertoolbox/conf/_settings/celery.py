"""Celery's settings: their types, our defaults, and the variables that replace them."""

from __future__ import annotations

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

"""Bodies and headers of rejected messages in the log lines of Celery."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from celery.worker.consumer import consumer

from cadasta.workertoolbox.routing._log_text import log_text
from cadasta.workertoolbox.routing._masking import mask_fields
from cadasta.workertoolbox.routing._worker import HIDDEN, MAX_LOGGED

# `celery-types` does not know what this module of Celery contains.
_celery: Any = consumer

#: Headers of a task that are logged.
_IDENTITY = ("id", "task", "root_id", "parent_id", "group", "origin")


def hide_bodies() -> None:
    """Hide bodies and headers in the lines that Celery logs of rejected messages."""
    logging.getLogger(_celery.logger.name).addFilter(_hide_body)


def _hide_body(record: logging.LogRecord) -> bool:
    match record.msg, record.args:
        case _celery.UNKNOWN_TASK_ERROR, (
            error,
            _,
            Mapping() as headers,
            delivery_info,
        ):
            known = {name: headers.get(name) for name in _IDENTITY}
            record.args = (error, HIDDEN, known, delivery_info)
        case _celery.INVALID_TASK_ERROR, (error, _):
            record.args = (mask_fields(log_text(str(error))), HIDDEN)
        case _celery.UNKNOWN_FORMAT, (report,):
            record.args = (mask_fields(log_text(report, MAX_LOGGED)),)
    return True

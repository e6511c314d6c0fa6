"""Bodies and headers of rejected messages in the log lines of Celery."""

from __future__ import annotations

import logging

from celery.worker.consumer import consumer

from cadasta.workertoolbox.routing._log_text import log_text
from cadasta.workertoolbox.routing._masking import mask_fields
from cadasta.workertoolbox.routing._worker import HIDDEN, MAX_LOGGED

#: Headers of a task that are logged.
_IDENTITY = ("id", "task", "root_id", "parent_id", "group", "origin")


def hide_bodies() -> None:
    """Hide bodies and headers in the lines that Celery logs of rejected messages."""
    logging.getLogger(consumer.logger.name).addFilter(_hide_body)


def _hide_body(record: logging.LogRecord) -> bool:
    match record.msg, record.args:
        case consumer.UNKNOWN_TASK_ERROR, (error, _, headers, delivery_info):
            known = {name: headers.get(name) for name in _IDENTITY}
            record.args = (error, HIDDEN, known, delivery_info)
        case consumer.INVALID_TASK_ERROR, (error, _):
            record.args = (mask_fields(log_text(str(error))), HIDDEN)
        case consumer.UNKNOWN_FORMAT, (report,):
            record.args = (mask_fields(log_text(report, MAX_LOGGED)),)
    return True

"""Formatters of log records: JSON and plain text, with the ids of the task.

`JSONFormatter` is not built on python-json-logger, which loses records whose arguments
do not fit the message and records with extras that JSON cannot represent, writes NaN,
and lets extras and dictionary messages replace keys such as `level` and `task_id`.
"""

from __future__ import annotations

import json
import logging
from datetime import UTC, datetime
from typing import Any

from kombu.utils.encoding import safe_repr, safe_str

from cadasta.workertoolbox.conf._logging.task_context import UNKNOWN, task_ids

#: The attributes of every record; any other attribute is an `extra` of the caller.
_COMMON = {*vars(logging.makeLogRecord({})), "message", "asctime"}

#: The `extra` of Celery's own loggers that holds the arguments of tasks.
_CELERY_EXTRA = "data"


class JSONFormatter(logging.Formatter):
    """Write each record as one JSON object, with the ids of the task that logged it.

    The keys are `timestamp` (ISO 8601, UTC), `level`, `logger`, `message`, `process`,
    and `task_id`, `root_id`, `queue` and `task_name`, which are null outside of tasks.
    A record may also have the strings `exception` and `stack` and the object `extra`.
    Values that JSON cannot represent are written as strings.
    """

    def format(self, record: logging.LogRecord) -> str:
        ids = task_ids()
        line: dict[str, Any] = {
            "timestamp": _timestamp(record),
            "level": record.levelname,
            "logger": record.name,
            "message": _message(record),
            "process": record.process,
            **ids,
        }
        if exception := _exception(self, record):
            line["exception"] = exception
        if record.stack_info:
            line["stack"] = record.stack_info
        if extra := _extra(record, ids):
            line["extra"] = extra
        return json.dumps(_jsonable(line))


class PlainFormatter(logging.Formatter):
    """Write each record as one line of text, with the ids of the task that logged it.

    Characters that are not printable, such as line breaks and escape sequences, are
    escaped. A traceback follows on lines of its own.
    """

    def format(self, record: logging.LogRecord) -> str:
        ids = [
            f"{name}={value}" for name, value in task_ids().items() if value is not None
        ]
        head = f"{_timestamp(record)} {record.levelname} {record.name}:"
        line = " ".join([head, *ids, _message(record)])
        lines = [line]
        for traceback in filter(None, (_exception(self, record), record.stack_info)):
            lines += traceback.split("\n")
        return "\n".join(map(printable, lines))


#: The formatters by the values of `LOG_FORMAT`.
FORMATTERS: dict[str, type[logging.Formatter]] = {
    "json": JSONFormatter,
    "plain": PlainFormatter,
}


def printable(text: str) -> str:
    """Return a text in which characters that are not printable are escaped."""
    if text.isprintable():
        return text
    return "".join(
        each if each.isprintable() else each.encode("unicode_escape").decode()
        for each in text
    )


def _timestamp(record: logging.LogRecord) -> str:
    created_at = datetime.fromtimestamp(record.created, UTC)
    return created_at.isoformat(timespec="milliseconds")


def _message(record: logging.LogRecord) -> str:
    """Return the message, without its arguments if they do not fit."""
    try:
        return record.getMessage()
    except Exception:
        return safe_str(record.msg)


def _exception(formatter: logging.Formatter, record: logging.LogRecord) -> str | None:
    # Celery may set `exc_info` to a value that is not a tuple, such as True.
    match record.exc_info:
        case (type(), _, _) as exc_info:
            return formatter.formatException(exc_info)
    return record.exc_text


def _extra(record: logging.LogRecord, ids: dict[str, str | None]) -> dict[str, Any]:
    """Return what the caller gave as `extra`, without the ids that a filter added."""
    hidden = {_CELERY_EXTRA} if record.name.startswith("celery.") else set()
    return {
        name: value
        for name, value in vars(record).items()
        if name not in _COMMON
        and name not in hidden
        and not (name in ids and _is_from_filter(value, ids[name]))
    }


def _is_from_filter(value: object, id: str | None) -> bool:
    """Return whether `TaskIdFilter` or Celery's own formatter has set a value."""
    return value is None or (isinstance(value, str) and value in (id, UNKNOWN))


def _jsonable(value: Any) -> Any:
    """Return any value in a form that JSON can represent."""
    try:
        text = json.dumps(value, allow_nan=False, default=_text)
        return json.loads(text)
    except Exception:
        if type(value) is dict:
            return {_text(name): _jsonable(item) for name, item in value.items()}
        return safe_repr(value)


def _text(value: object) -> str:
    try:
        return str(value)
    except Exception:
        return f"<{type(value).__name__} that cannot be shown>"

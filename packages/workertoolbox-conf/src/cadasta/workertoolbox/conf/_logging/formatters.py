"""How a line of a worker's log is written."""

from __future__ import annotations

import json
import logging
from datetime import UTC, datetime
from typing import Any

from kombu.utils.encoding import safe_repr, safe_str

from cadasta.workertoolbox.conf._logging.task_context import task_ids

#: What every record has; the rest is what a caller gave as `extra`.
_COMMON = {*vars(logging.makeLogRecord({})), "message", "asctime"}

#: What Celery gives as `extra`: it holds the arguments of tasks.
_CELERYS = "data"


class JSONFormatter(logging.Formatter):
    """One JSON object per record, with the ids of the task that logged it.

    Keys: `timestamp` (ISO 8601, UTC), `level`, `logger`, `message`, `process`,
    `task_id`, `root_id`, `queue` and `task_name`, which are null outside of tasks; and,
    where there is one, `exception` and `stack`, a string each, and `extra`, an object.
    What JSON does not know is written as text.
    """

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "timestamp": _timestamp(record),
            "level": record.levelname,
            "logger": record.name,
            "message": _message(record),
            "process": record.process,
            **task_ids(),
        }
        if exception := _exception(self, record):
            line["exception"] = exception
        if record.stack_info:
            line["stack"] = record.stack_info
        if extra := _extra(record):
            line["extra"] = extra
        return json.dumps(_storable(line))


class PlainFormatter(logging.Formatter):
    """One line per record, with the ids of the task that logged it.

    A traceback follows in lines of its own; line breaks in a message are escaped.
    """

    def format(self, record: logging.LogRecord) -> str:
        message = _message(record).replace("\r", r"\r").replace("\n", r"\n")
        ids = {name: value for name, value in task_ids().items() if value is not None}
        shown = [" ".join(f"{name}={value}" for name, value in ids.items())]
        parts = [f"{_timestamp(record)} {record.levelname} {record.name}:", *shown]
        line = " ".join([*filter(None, parts), message])
        below = (_exception(self, record), record.stack_info)
        return "\n".join([line, *filter(None, below)])


def _timestamp(record: logging.LogRecord) -> str:
    at = datetime.fromtimestamp(record.created, UTC)
    return at.isoformat(timespec="milliseconds")


def _message(record: logging.LogRecord) -> str:
    """Return the message, or what there is of it where its arguments do not fit."""
    try:
        return record.getMessage()
    except Exception:
        return safe_str(record.msg)


def _exception(formatter: logging.Formatter, record: logging.LogRecord) -> str | None:
    # Celery's may be anything that is no error, such as True.
    match record.exc_info:
        case (type(), _, _) as exc_info:
            return formatter.formatException(exc_info)
    return record.exc_text


def _extra(record: logging.LogRecord) -> dict[str, Any]:
    hidden = {_CELERYS} if record.name.startswith("celery.") else set()
    return {
        name: value
        for name, value in vars(record).items()
        if name not in _COMMON and name not in hidden
    }


def _storable(value: Any) -> Any:
    """Return a value as JSON has it, whatever it is."""
    try:
        text = json.dumps(value, allow_nan=False, default=_text)
        return json.loads(text)
    except Exception:
        if type(value) is dict:
            return {_text(name): _storable(item) for name, item in value.items()}
        return safe_repr(value)


def _text(value: object) -> str:
    try:
        return str(value)
    except Exception:
        return f"<{type(value).__name__} without a text>"

"""Sentry in workers and beat: errors with the ids of their tasks, without secrets."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from celery._state import get_current_task

from cadasta.workertoolbox.conf._logging.task_context import task_ids
from cadasta.workertoolbox.routing import mask_url

if TYPE_CHECKING:
    from sentry_sdk.types import Breadcrumb, BreadcrumbHint, Event, Hint

#: Loggers of Celery and of the toolbox whose messages may show the body of a message or
#: the arguments of a task.
_MESSAGE_LOGGERS = (
    "cadasta.workertoolbox.routing._worker",
    "celery.worker.consumer.consumer",
    "celery.worker.strategy",
)

#: How messages of these loggers about a connection begin. Celery masks their URLs.
_CONNECTION_PREFIX = "consumer: "

#: Loggers whose `extra` may hold the arguments of a task.
_LIBRARY_LOGGERS = ("cadasta.workertoolbox.", "celery.", "kombu.")

#: The logger of lost tasks and exceeded time limits, in the main process.
_REQUEST_LOGGER = "celery.worker.request"

#: The logger of ended pool processes. Its messages do not name the task that ran.
_PROCESS_LOGGER = "multiprocessing"


def sentry_options() -> dict[str, Any]:
    """Return keyword arguments for `sentry_sdk.init`, as workers and beat use them.

    For example: `sentry_sdk.init(**sentry_options(), traces_sample_rate=0.1)`.

    Events get the ids of their task as tags. The arguments of tasks, the bodies of
    messages, local variables and command lines are not sent; passwords in URLs are
    masked, and so are values whose keys the SDK considers sensitive, at any depth.

    Raises:
        ImportError: Sentry's SDK is not installed.
    """
    # The SDK takes long to import, and most processes do not need it.
    from sentry_sdk.integrations.argv import ArgvIntegration
    from sentry_sdk.integrations.celery import CeleryIntegration
    from sentry_sdk.integrations.stdlib import StdlibIntegration
    from sentry_sdk.scrubber import EventScrubber

    return {
        # Task messages stay unchanged: the root id links their events already.
        "integrations": [CeleryIntegration(propagate_traces=False)],
        # These send command lines, even of subprocesses, and the queries of URLs.
        "disabled_integrations": [ArgvIntegration, StdlibIntegration],
        "auto_enabling_integrations": False,
        "include_local_variables": False,
        "max_request_body_size": "never",
        "event_scrubber": EventScrubber(recursive=True),
        "before_send": _before_send,
        "before_breadcrumb": _before_breadcrumb,
    }


def is_wanted(conf: Mapping[str, Any]) -> bool:
    """Return whether the workers and beat of an app should send errors to Sentry."""
    return bool(os.environ.get("SENTRY_DSN") and conf.get("SENTRY"))


def is_initialized() -> bool:
    """Return whether the service has initialized the SDK itself."""
    sdk = sys.modules.get("sentry_sdk")
    return sdk is not None and bool(sdk.is_initialized())


def start() -> str | None:
    """Initialize the SDK; return the problem if that is not possible, or None.

    If the service has initialized the SDK itself, nothing changes.
    """
    dsn = os.environ["SENTRY_DSN"]
    try:
        import sentry_sdk
        from sentry_sdk.utils import Dsn
    except ImportError:
        return (
            "SENTRY_DSN is set, but Sentry's SDK is not installed, so nothing is sent; "
            'run `pip install "workertoolbox-conf[sentry]"`, or set SENTRY=False'
        )
    if sentry_sdk.is_initialized():
        return None
    try:
        Dsn(dsn)
    except ValueError:
        return (
            f"SENTRY_DSN={_mask_dsn(dsn)!r} in the environment is not a valid DSN, so "
            "nothing is sent to Sentry; write it as https://KEY@HOST/NUMBER, or set "
            "SENTRY=False"
        )
    sentry_sdk.init(dsn, **sentry_options())
    return None


def _before_send(event: Event, hint: Hint) -> Event | None:
    record = hint.get("log_record")
    if record is not None and _is_duplicate(record):
        return None
    _remove_celery_job(event)
    _add_ids(event)
    if record is not None:
        _remove_arguments(event, record)
    masked: Event = _mask_passwords(event)
    return masked


def _before_breadcrumb(crumb: Breadcrumb, hint: BreadcrumbHint) -> Breadcrumb | None:
    record = hint.get("log_record")
    if record is not None and record.name.startswith(_LIBRARY_LOGGERS):
        if _may_show_message(record):
            return None
        crumb["data"] = {}
    return crumb


def _is_duplicate(record: logging.LogRecord) -> bool:
    """Return whether another event describes the same failure better."""
    if record.name == _PROCESS_LOGGER:
        return True
    # The pool logs a message of its own when a time limit is exceeded.
    error = record.exc_info[0] if record.exc_info else None
    is_time_limit = error is not None and error.__name__ == "TimeLimitExceeded"
    return record.name == _REQUEST_LOGGER and is_time_limit


def _remove_celery_job(event: Event) -> None:
    """Remove the name and the masked arguments, which the SDK adds as `extra`."""
    extra: Any = event.get("extra")
    if isinstance(extra, dict):
        extra.pop("celery-job", None)


def _add_ids(event: Event) -> None:
    """Add the ids of the current task as tags, and its name as the transaction."""
    ids = {name: value for name, value in task_ids().items() if value is not None}
    task = get_current_task()
    if task is not None and task.request.id is not None:
        ids["retries"] = str(task.request.retries)
    tags: Any = event.setdefault("tags", {})
    tags.update(ids)
    if "task_name" in ids:
        event["transaction"] = ids["task_name"]


def _remove_arguments(event: Event, record: logging.LogRecord) -> None:
    """Remove what a log record may show of a task's arguments."""
    # The SDK would also send `record.args`, which may have passwords outside of URLs.
    text = str(record.msg) if _may_show_message(record) else record.getMessage()
    event["logentry"] = {"message": str(record.msg), "formatted": text}
    if record.name.startswith(_LIBRARY_LOGGERS):
        event["extra"] = {}
    name = task_ids()["task_name"]
    if record.name == _REQUEST_LOGGER and name is not None:
        # Celery's messages are the same for every task, so Sentry would group the
        # errors of different tasks.
        event["fingerprint"] = ["{{ default }}", name]


def _may_show_message(record: logging.LogRecord) -> bool:
    """Return whether a record may show the content of a task message."""
    is_about_connection = str(record.msg).startswith(_CONNECTION_PREFIX)
    return record.name in _MESSAGE_LOGGERS and not is_about_connection


def _mask_passwords(value: Any) -> Any:
    """Return a JSON value with the passwords in its URLs masked."""
    match value:
        case dict():
            return {name: _mask_passwords(item) for name, item in value.items()}
        case list() | tuple():
            return [_mask_passwords(item) for item in value]
        case str() if "://" in value:
            return mask_url(value)
    return value


def _mask_dsn(dsn: str) -> str:
    """Return an invalid DSN with its key masked."""
    before, at, host = dsn.rpartition("@")
    scheme, separator, _ = before.rpartition("://")
    return f"{scheme}{separator}********{at}{host}" if at else mask_url(dsn)

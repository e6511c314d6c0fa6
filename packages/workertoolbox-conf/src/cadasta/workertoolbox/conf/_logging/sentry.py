"""What Sentry gets of workers and beat: the errors, and nothing that is secret."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from celery._state import get_current_task

from cadasta.workertoolbox.conf._logging.task_context import task_ids
from cadasta.workertoolbox.routing import mask_url

if TYPE_CHECKING:
    from sentry_sdk.types import Breadcrumb, BreadcrumbHint, Event, Hint

#: Loggers of Celery's and ours whose lines may hold the body or the arguments of a
#: message.
_TELLTALES = (
    "cadasta.workertoolbox.routing._worker",
    "celery.worker.consumer.consumer",
    "celery.worker.strategy",
)

#: What they say of a connection, whose URL Celery masks, begins so.
_OF_CONNECTIONS = "consumer: "

#: Loggers that give arguments of tasks as extra.
_OURS = ("cadasta.workertoolbox.", "celery.", "kombu.")

#: Tells of a task that is lost, or takes too long, in the main process.
_REQUESTS = "celery.worker.request"

#: Tells of the end of a process, and says nothing of the task that went with it.
_PROCESSES = "multiprocessing"


def is_wanted(conf: Mapping[str, Any]) -> bool:
    """Tell whether an app of the toolbox's is to have its errors in Sentry."""
    return bool(os.environ.get("SENTRY_DSN") and conf.get("SENTRY"))


def start() -> str | None:
    """Have the SDK send errors from now on, and return what keeps it from that.

    What a service has set up by itself is left as it is.
    """
    dsn = os.environ["SENTRY_DSN"]
    try:
        # It takes long, and most processes have no use for it.
        import sentry_sdk
        from sentry_sdk.integrations.argv import ArgvIntegration
        from sentry_sdk.integrations.celery import CeleryIntegration
        from sentry_sdk.integrations.stdlib import StdlibIntegration
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
            f"SENTRY_DSN={_masked_dsn(dsn)!r} in the environment is no DSN, so nothing "
            "is sent to Sentry; write it as https://KEY@HOST/NUMBER, or set "
            "SENTRY=False"
        )
    sentry_sdk.init(
        dsn,
        # Task messages stay as they are: their root id links them already.
        integrations=[CeleryIntegration(propagate_traces=False)],
        # Command lines, of subprocesses too, and the queries of URLs hold secrets.
        disabled_integrations=[ArgvIntegration, StdlibIntegration],
        auto_enabling_integrations=False,
        include_local_variables=False,
        send_default_pii=False,
        before_send=_before_send,
        before_breadcrumb=_before_breadcrumb,
    )
    return None


def _before_send(event: Event, hint: Hint) -> Event | None:
    record = hint.get("log_record")
    if record is not None and _is_told_otherwise(record):
        return None
    extra: Any = event.get("extra")
    if isinstance(extra, dict):
        extra.pop("celery-job", None)
    ids = {name: value for name, value in task_ids().items() if value is not None}
    task = get_current_task()
    if task is not None and task.request.id is not None:
        ids["retries"] = str(task.request.retries)
    tags: Any = event.setdefault("tags", {})
    tags.update(ids)
    name = ids.get("task_name")
    if name is not None:
        event["transaction"] = name
    if record is not None:
        # Not the parameters: where they stand is what shows that they are secret.
        text = str(record.msg) if _tells(record) else record.getMessage()
        event["logentry"] = {"message": str(record.msg), "formatted": text}
        if record.name.startswith(_OURS):
            event["extra"] = {}
        if record.name == _REQUESTS and name is not None:
            event["fingerprint"] = ["{{ default }}", name]
    masked: Event = _masked(event)
    return masked


def _before_breadcrumb(crumb: Breadcrumb, hint: BreadcrumbHint) -> Breadcrumb | None:
    record = hint.get("log_record")
    if record is not None and record.name.startswith(_OURS):
        if _tells(record):
            return None
        crumb["data"] = {}
    return crumb


def _is_told_otherwise(record: logging.LogRecord) -> bool:
    """Tell whether another line is of the same failure, and says more of it."""
    if record.name == _PROCESSES:
        return True
    # The line on the time limit is the one that each pool has.
    error = record.exc_info[0] if record.exc_info else None
    is_limit = error is not None and error.__name__ == "TimeLimitExceeded"
    return record.name == _REQUESTS and is_limit


def _tells(record: logging.LogRecord) -> bool:
    """Tell whether a line may hold what is in a message."""
    is_of_connection = str(record.msg).startswith(_OF_CONNECTIONS)
    return record.name in _TELLTALES and not is_of_connection


def _masked(value: Any) -> Any:
    """Return a value of JSON's without the passwords in its URLs."""
    match value:
        case dict():
            return {name: _masked(item) for name, item in value.items()}
        case list() | tuple():
            return [_masked(item) for item in value]
        case str() if "://" in value:
            return mask_url(value)
    return value


def _masked_dsn(dsn: str) -> str:
    """Return what is wrong with a DSN, without its key."""
    before, at, host = dsn.rpartition("@")
    scheme, separator, _ = before.rpartition("://")
    return f"{scheme}{separator}********{at}{host}" if at else mask_url(dsn)

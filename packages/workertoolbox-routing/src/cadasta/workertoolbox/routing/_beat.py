"""What beat does: it describes its runs, and logs refused tasks in one line."""

from __future__ import annotations

import logging
from typing import Any

from celery.signals import beat_init

from cadasta.workertoolbox.routing._log_text import log_text

#: Where the errors of the toolbox are defined: those of routing, and those of a result
#: backend that refuses an id.
_TOOLBOX = "cadasta.workertoolbox."

#: Maximum number of characters of the line: the longest advice, and the name of the
#: entry.
_MAX_LENGTH = 1000


def connect_signals() -> None:
    """Describe the runs that beat sends, and shorten what it logs of refused tasks."""
    beat_init.connect(_shorten_refusals, dispatch_uid=__name__)
    beat_init.connect(_describe_runs, dispatch_uid=f"{__name__}.runs")


def _shorten_refusals(**_: Any) -> None:
    logging.getLogger("celery.beat").addFilter(_shorten)


def _shorten(record: logging.LogRecord) -> bool:
    """Log an error of the toolbox in one line, without the stacks that beat adds."""
    error = record.exc_info[1] if record.exc_info else None
    cause = getattr(error, "__context__", None)
    if type(cause).__module__.startswith(_TOOLBOX):
        # The whole text as the message: Sentry groups events by it.
        record.msg, record.args = log_text(str(error), _MAX_LENGTH), ()
        record.exc_info = None
    return True


def _describe_runs(sender: Any, **_: Any) -> None:
    from cadasta.workertoolbox.routing._beat_runs import describe_runs

    describe_runs(sender)

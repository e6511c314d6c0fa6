"""Descriptions of the runs that beat sends, in the headers of their messages.

Only beat imports this module: it needs `celery.schedules`.
"""

from __future__ import annotations

import logging
from contextlib import nullcontext
from datetime import UTC, datetime
from typing import Any

from cadasta.workertoolbox.routing._listing import Listing
from cadasta.workertoolbox.routing._log_text import log_text
from cadasta.workertoolbox.routing._router import find_router
from cadasta.workertoolbox.routing._schedule_entries import describe_entry
from cadasta.workertoolbox.routing._scheduled_runs import sending

_logger = logging.getLogger(__name__)

#: Maximum number of characters of an entry's name in the log.
_MAX_LENGTH = 1000

#: Attribute of a scheduler whose runs are described.
_MARK = "_workertoolbox_describes_runs"


def describe_runs(sender: Any) -> None:
    """Describe each run that a beat sends, whatever its scheduler.

    The method `apply_async` of the scheduler object is replaced, because all schedulers
    send their entries with it. Some count a run before they send it, others after.

    Args:
        sender: The `celery.beat.Service`.
    """
    scheduler = sender.scheduler
    if find_router(sender.app.conf) is None or hasattr(scheduler, _MARK):
        return
    runs = _Runs(scheduler)
    send = scheduler.apply_async

    def apply_async(entry: Any, *args: Any, **kwargs: Any) -> Any:
        description = runs.describe(entry)
        try:
            with (
                nullcontext()
                if description is None
                else sending(entry.task, description)
            ):
                result = send(entry, *args, **kwargs)
        except Exception:
            runs.refuse(description)
            raise
        runs.confirm(description)
        return result

    scheduler.apply_async = apply_async
    setattr(scheduler, _MARK, True)


class _Runs:
    """Descriptions of the runs of a scheduler."""

    def __init__(self, scheduler: Any) -> None:
        self._scheduler = scheduler
        self._started_at = datetime.now(UTC).isoformat()
        self._listing = Listing(scheduler)
        self._has_failed = False

    def describe(self, entry: Any) -> dict[str, Any] | None:
        """Return the description of the run that is due, or None if that fails."""
        try:
            return self._description(entry)
        except Exception:
            if not self._has_failed:
                _logger.warning(
                    "cannot describe the runs of %s; beat sends them all the same",
                    log_text(repr(entry.name), _MAX_LENGTH),
                    exc_info=True,
                )
            self._has_failed = True
            return None

    def confirm(self, description: dict[str, Any] | None) -> None:
        """Note that the message was sent."""
        if description is not None:
            self._listing.confirm(description)

    def refuse(self, description: dict[str, Any] | None) -> None:
        """Note that the message was not sent."""
        if description is not None:
            self._listing.refuse(description)

    def _description(self, entry: Any) -> dict[str, Any]:
        now = datetime.now(UTC)
        description = {
            **describe_entry(entry, now),
            "started_at": self._started_at,
            "max_interval_s": self._scheduler.max_interval,
        }
        if (entries := self._listing.find_due(description, now)) is not None:
            description["entries"] = entries
        return description

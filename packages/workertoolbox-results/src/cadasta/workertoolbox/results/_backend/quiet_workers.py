"""Loading of the result backend in workers that print no banner.

The banner of a worker names the result backend, which loads it. `celery -q` leaves the
banner out: the backend would be loaded with the first result, too late for its signals.
"""

from __future__ import annotations

from typing import Any

from celery.exceptions import WorkerShutdown
from celery.signals import celeryd_after_setup
from celery.utils.log import get_logger

from cadasta.workertoolbox.results._safe_text import log_text

_logger = get_logger(__name__)


def connect_signals() -> None:
    """Load the backend when a worker starts in this process."""
    celeryd_after_setup.connect(_load_backend, dispatch_uid=__name__)


def _load_backend(instance: Any, **_: Any) -> None:
    if not instance.quiet:
        return
    try:
        _ = instance.app.backend
    except Exception as error:
        # The banner would end the worker, too.
        _logger.critical("cannot load the result backend: %s", log_text(error))
        raise WorkerShutdown(1) from None

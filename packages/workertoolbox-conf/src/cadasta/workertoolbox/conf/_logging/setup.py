"""Log format and Sentry, set up when a worker or beat starts."""

from __future__ import annotations

import logging
from typing import Any

from celery import Celery
from celery.signals import (
    after_setup_logger,
    after_setup_task_logger,
    beat_init,
    celeryd_after_setup,
    worker_init,
)
from celery.utils.log import ColorFormatter, get_multiprocessing_logger

from cadasta.workertoolbox.conf._logging import sentry
from cadasta.workertoolbox.conf._logging.formatters import FORMATTERS

_logger = logging.getLogger(__name__)


def connect_signals() -> None:
    """Set up logging and Sentry whenever a worker or beat starts in this process."""
    worker_init.connect(_on_worker_init, dispatch_uid=__name__)
    beat_init.connect(_on_beat_init, dispatch_uid=__name__)


def _on_worker_init(sender: Any, **_: Any) -> None:
    app: Celery = sender.app
    if not _is_configured(app):
        return
    log_format = app.conf.get("LOG_FORMAT")
    is_sentry_wanted = sentry.is_wanted(app.conf)
    is_sentry_used = is_sentry_wanted or (
        app.conf.get("SENTRY") and sentry.is_initialized()
    )
    if log_format is not None:
        _format_logs(FORMATTERS[log_format]())
    if log_format is not None or is_sentry_used:
        # Imported here, because it imports modules of Celery that a worker has loaded
        # already, but that would cost a producer half a second.
        from cadasta.workertoolbox.conf._logging.requests import add_ids_to_requests

        add_ids_to_requests(app)
    # The SDK must patch Celery's modules before Celery loads them. Celery has not set
    # up the log at that time, so a problem is logged later.
    if is_sentry_wanted and (problem := sentry.start()):
        _warn_later(problem)


def _on_beat_init(sender: Any, **_: Any) -> None:
    if not _is_configured(sender.app):
        return
    conf = sender.app.conf
    log_format = conf.get("LOG_FORMAT")
    if log_format is not None:
        formatter = FORMATTERS[log_format]()
        _format_logs(formatter)
        # Beat sets up these two loggers before it sends the signal.
        for name in ("root", "celery.task"):
            _set_formatter(logging.getLogger(name), formatter)
    if sentry.is_wanted(conf) and (problem := sentry.start()):
        _logger.warning("%s", problem)


def _is_configured(app: Celery) -> bool:
    """Return whether an app is configured with the toolbox.

    The signals reach every app of the process.
    """
    return app.conf.get("PLATFORM_QUEUE_NAME") is not None


def _warn_later(problem: str) -> None:
    """Log a warning once, as soon as Celery has set up the log of the worker."""
    uid = f"{__name__}:sentry"

    def warn(**_: Any) -> None:
        celeryd_after_setup.disconnect(dispatch_uid=uid)
        _logger.warning("%s", problem)

    celeryd_after_setup.disconnect(dispatch_uid=uid)
    celeryd_after_setup.connect(warn, weak=False, dispatch_uid=uid)


def _format_logs(formatter: logging.Formatter) -> None:
    """Use a formatter for the handlers that Celery sets up from now on."""

    def set_formatters(logger: logging.Logger, **_: Any) -> None:
        _set_formatter(logger, formatter)
        # The logger is None without billiard, which only prefork needs.
        if pool_logger := get_multiprocessing_logger():
            _set_formatter(pool_logger, formatter)

    for signal in (after_setup_logger, after_setup_task_logger):
        signal.disconnect(dispatch_uid=__name__)
        signal.connect(set_formatters, weak=False, dispatch_uid=__name__)


def _set_formatter(logger: logging.Logger, formatter: logging.Formatter) -> None:
    for handler in logger.handlers:
        # Only handlers that Celery has made; those of the service keep theirs.
        if isinstance(handler.formatter, (ColorFormatter, *FORMATTERS.values())):
            handler.setFormatter(formatter)

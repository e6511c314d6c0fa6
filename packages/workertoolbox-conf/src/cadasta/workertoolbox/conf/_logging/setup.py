"""What the processes of Celery's set up when they start, where it is asked for."""

from __future__ import annotations

import logging
from typing import Any

from celery.signals import (
    after_setup_logger,
    after_setup_task_logger,
    beat_init,
    celeryd_after_setup,
    worker_init,
)
from celery.utils.log import ColorFormatter, get_multiprocessing_logger

from cadasta.workertoolbox.conf._logging import sentry as _sentry
from cadasta.workertoolbox.conf._logging.formatters import JSONFormatter, PlainFormatter
from cadasta.workertoolbox.conf._logging.requests import name_tasks

_logger = logging.getLogger(__name__)

#: Formatters by the values of `LOG_FORMAT`.
FORMATTERS: dict[str, type[logging.Formatter]] = {
    "json": JSONFormatter,
    "plain": PlainFormatter,
}


def connect() -> None:
    """Be told when a worker or beat starts in this process."""
    worker_init.connect(_on_worker, dispatch_uid=__name__)
    beat_init.connect(_on_beat, dispatch_uid=__name__)


def _on_worker(sender: Any, **_: Any) -> None:
    conf = sender.app.conf
    name = conf.get("LOG_FORMAT")
    is_sentry_wanted = _sentry.is_wanted(conf)
    if name is not None:
        _format_logs(FORMATTERS[name]())
    if name is not None or is_sentry_wanted:
        name_tasks(sender.app)
    # Before Celery loads what the SDK patches, and so before there is a log.
    if is_sentry_wanted and (problem := _sentry.start()):
        _warn_later(problem)


def _on_beat(sender: Any, **_: Any) -> None:
    name = sender.app.conf.get("LOG_FORMAT")
    if name is not None:
        formatter = FORMATTERS[name]()
        _format_logs(formatter)
        # In beat, Celery has set them up before.
        for logger in ("root", "celery.task"):
            _format(logging.getLogger(logger), formatter)
    if _sentry.is_wanted(sender.app.conf) and (problem := _sentry.start()):
        _logger.warning("%s", problem)


def _warn_later(problem: str) -> None:
    """Log something once, as soon as Celery has set up the log of a worker."""
    uid = f"{__name__}:sentry"

    def warn(**_: Any) -> None:
        celeryd_after_setup.disconnect(dispatch_uid=uid)
        _logger.warning("%s", problem)

    celeryd_after_setup.disconnect(dispatch_uid=uid)
    celeryd_after_setup.connect(warn, weak=False, dispatch_uid=uid)


def _format_logs(formatter: logging.Formatter) -> None:
    """Have the handlers that Celery sets up from now on write so."""

    def format_handlers(logger: logging.Logger, **_: Any) -> None:
        _format(logger, formatter)
        # None where billiard, which prefork needs, is not installed.
        if pool := get_multiprocessing_logger():
            _format(pool, formatter)

    for signal in (after_setup_logger, after_setup_task_logger):
        signal.disconnect(dispatch_uid=__name__)
        signal.connect(format_handlers, weak=False, dispatch_uid=__name__)


def _format(logger: logging.Logger, formatter: logging.Formatter) -> None:
    for handler in logger.handlers:
        # Celery's own ones, not what a service has made.
        if isinstance(handler.formatter, (ColorFormatter, *FORMATTERS.values())):
            handler.setFormatter(formatter)

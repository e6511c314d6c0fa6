"""What the processes of Celery's set up when they start, where it is asked for."""

from __future__ import annotations

import logging
from typing import Any

from celery.signals import (
    after_setup_logger,
    after_setup_task_logger,
    beat_init,
    worker_init,
)
from celery.utils.log import ColorFormatter, get_multiprocessing_logger

from cadasta.workertoolbox.conf._formatters import JSONFormatter, PlainFormatter
from cadasta.workertoolbox.conf._requests import name_tasks

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
    if name is not None:
        _format_logs(FORMATTERS[name]())
        name_tasks(sender.app)


def _on_beat(sender: Any, **_: Any) -> None:
    name = sender.app.conf.get("LOG_FORMAT")
    if name is not None:
        formatter = FORMATTERS[name]()
        _format_logs(formatter)
        # In beat, Celery has set them up before.
        for logger in ("root", "celery.task"):
            _format(logging.getLogger(logger), formatter)


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

"""Keys that a service gives to groups of its errors."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import lru_cache
from traceback import extract_tb
from typing import Any

from celery import Celery
from kombu.utils.imports import symbol_by_name

from cadasta.workertoolbox.results._safe_text import log_text

#: The attribute of an exception: its key, or a method without arguments that returns
#: the key.
ATTRIBUTE = "error_group"

#: The setting: a function that takes an exception and the name of the task, or the
#: dotted path of one.
SETTING = "ERROR_GROUP"

_logger = logging.getLogger(__name__)


class OwnKeys:
    """Finds the key in an attribute of the exception, or with the configured function.

    Args:
        app: Its setting `ERROR_GROUP` is read at the first failure, because a dotted
            path may name a module that imports the app.
    """

    def __init__(self, app: Celery) -> None:
        self._app = app
        self._function: Callable[[BaseException, str], Any] | None = None
        self._is_known = False

    def find(self, error: BaseException, name: str) -> str | None:
        """Return the key of an error, or None if the service gives none.

        If the function fails, or returns neither a text nor None, the service gives no
        key, and each process logs that once.

        Args:
            name: The name of the task.
        """
        kind = f"{ATTRIBUTE} of {type(error).__qualname__}"
        key = _ask(kind, lambda: _attribute(error))
        if key is None and (function := self._setting()) is not None:
            key = _ask(SETTING, lambda: function(error, name))
        return key

    def _setting(self) -> Callable[[BaseException, str], Any] | None:
        if not self._is_known:
            value = self._app.conf.get(SETTING)
            try:
                self._function = value and symbol_by_name(value)
            except Exception as error:
                _log(SETTING, f"cannot be imported: {type(error).__name__}")
            self._is_known = True
        return self._function


def _attribute(error: BaseException) -> Any:
    value = getattr(error, ATTRIBUTE, None)
    return value() if callable(value) else value


def _ask(kind: str, ask: Callable[[], Any]) -> str | None:
    try:
        key = ask()
    except Exception as error:
        # Without the text of the error, which may contain a secret.
        place = extract_tb(error.__traceback__)[-1]
        problem = f"failed with {type(error).__name__} in {place.filename}"
        _log(kind, f"{problem}, line {place.lineno}")
        return None
    if key is None or (isinstance(key, str) and key):
        return key
    _log(kind, f"gave {type(key).__name__}, not a text")
    return None


@lru_cache(maxsize=1000)
def _log(kind: str, problem: str) -> None:
    """Log a problem once: the cache skips repeated calls."""
    _logger.error("%s %s; the error is grouped without it", log_text(kind), problem)

"""Retries of the backend's statements during an outage of the database."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import partial
from typing import Any

from celery.backends import base
from celery.exceptions import BackendGetMetaError, BackendStoreError
from celery.utils.log import get_task_logger
from celery.utils.time import get_exponential_backoff_interval
from sqlalchemy import update
from sqlalchemy.exc import DBAPIError

from cadasta.workertoolbox.results._database.connection import Database
from cadasta.workertoolbox.results._database.engine import shown_url
from cadasta.workertoolbox.results._database.outages import (
    is_outage,
    is_outdated_schema,
    one_line,
)
from cadasta.workertoolbox.results._database.statement import MIN_LARGE_BYTES
from cadasta.workertoolbox.results._database.tables import taskmeta
from cadasta.workertoolbox.results._errors import (
    DatabaseUnavailable,
    ResultNotStorable,
    SchemaOutdated,
)

logger = get_task_logger(__name__)

#: When the caller gives up, as a value of `time.monotonic()`; None for the limit of the
#: backend's settings.
_deadline: ContextVar[float | None] = ContextVar("deadline", default=None)


@contextmanager
def no_retries_after(deadline: float | None) -> Iterator[None]:
    """Limit the retries in this block by an instant of `time.monotonic()`."""
    token = _deadline.set(deadline)
    try:
        yield
    finally:
        _deadline.reset(token)


def may_succeed_later(error: BaseException) -> bool:
    """Return whether an error of the backend or of the database is an outage."""
    return isinstance(error, BackendStoreError) or is_outage(error)


class DatabaseBackendGetMetaError(DatabaseUnavailable, BackendGetMetaError):
    """A state cannot be read during an outage: an error of ours and of Celery."""

    #: Celery's `__repr__` shows it.
    task_id = ""


class DatabaseBackendStoreError(DatabaseUnavailable, BackendStoreError):
    """A state cannot be stored during an outage: an error of ours and of Celery."""

    #: Celery's `__repr__` shows them.
    task_id = ""
    state = ""


class SchemaError(SchemaOutdated, DatabaseUnavailable):
    """The database has the tables of an earlier release."""


class SchemaBackendGetMetaError(SchemaOutdated, DatabaseBackendGetMetaError):
    """A state cannot be read from tables of an earlier release."""


class SchemaBackendStoreError(SchemaOutdated, DatabaseBackendStoreError):
    """A state cannot be stored in tables of an earlier release."""


#: The errors that replace Celery's errors about a state that cannot be read or stored:
#: in an outage, and if the schema is outdated.
_INSTEAD: dict[object, tuple[type[Exception], type[Exception]]] = {
    BackendGetMetaError: (DatabaseBackendGetMetaError, SchemaBackendGetMetaError),
    BackendStoreError: (DatabaseBackendStoreError, SchemaBackendStoreError),
}


class RetryMixin(base.BaseBackend):
    """Celery's retries, with one line of log each and with errors of our own."""

    database: Database
    always_retry: bool
    max_retries: float
    base_sleep_between_retries_ms: int
    max_sleep_between_retries_ms: int

    def exception_safe_to_retry(self, error: BaseException) -> bool:
        """Return whether the same statement may succeed later."""
        return is_outage(error)

    def _ensure_retryable(
        self,
        func: Callable[..., Any],
        *args: Any,
        fallback_exc: Callable[..., Exception] | None = None,
        fallback_msg: str | None = None,
        max_retries: float | None = None,
        **kwargs: Any,
    ) -> Any:
        """Call a function, again and again during an outage of the database.

        Args:
            fallback_exc: Celery's error for a state that cannot be stored or read.
            fallback_msg: The beginning of its message.
            max_retries: Maximum number of retries, None for that of the settings.

        Raises:
            DatabaseUnavailable: The outage lasts longer than the retries.
            SchemaOutdated: Tables or columns are still missing after the retries.
            ResultNotStorable: The database refuses the data, now and later.
        """
        limit = self.max_retries if max_retries is None else max_retries
        call = partial(func, *args, **kwargs)
        retries = 0
        while True:
            try:
                return call()
            except Exception as error:
                if not is_outage(error):
                    if isinstance(error, DBAPIError):
                        raise ResultNotStorable(one_line(error)) from None
                    raise
                retries += 1
                sleep_s = self._sleep_s(retries)
                if retries > limit or not self.always_retry or _is_over(sleep_s):
                    self._refuse_if_too_large(call, error)
                    # Without the chain of errors, which Celery would log several times.
                    raise self._unavailable(error, fallback_exc, fallback_msg) from None
                logger.warning(
                    "Failed operation %s. Retrying %g more times: %s",
                    getattr(func, "__name__", repr(func)),
                    limit - retries,
                    one_line(error),
                )
            time.sleep(sleep_s)

    def _sleep_s(self, retries: int) -> float:
        milliseconds: float = get_exponential_backoff_interval(
            self.base_sleep_between_retries_ms,
            retries,
            self.max_sleep_between_retries_ms,
            True,
        )
        return milliseconds / 1000

    def _refuse_if_too_large(self, call: Callable[[], Any], error: Exception) -> None:
        """Raise an error if the database takes small values, but not these.

        A server that has no memory for a large value, or ends the connection, looks
        like a server in an outage.

        Raises:
            ResultNotStorable: The values can never be stored.
        """
        size = getattr(error, "size_bytes", 0)
        if size < MIN_LARGE_BYTES:
            return
        try:
            with self.database.connect() as connection:
                connection.execute(CHANGE_NOTHING)
            call()
        except Exception as again:
            if getattr(again, "size_bytes", 0):
                raise ResultNotStorable(
                    f"the database takes other values, but not these {size} bytes: "
                    f"{one_line(again)}"
                ) from None

    def _unavailable(
        self,
        error: Exception,
        fallback_exc: Callable[..., Exception] | None,
        fallback_msg: str | None,
    ) -> Exception:
        shown = shown_url(self.database.engine.url)
        is_outdated = is_outdated_schema(error)
        advice = (
            "run `celery -A … tasks upgrade`" if is_outdated else "check result_backend"
        )
        reason = one_line(error.__cause__ or error if is_outdated else error)
        text = f"database {shown} cannot be used: {reason}; {advice}"
        celerys = getattr(fallback_exc, "func", fallback_exc)
        if celerys not in _INSTEAD:
            return (SchemaError if is_outdated else DatabaseUnavailable)(text)
        kind = _INSTEAD[celerys][is_outdated]
        unavailable = kind(f"{fallback_msg}: {text}")
        vars(unavailable).update(getattr(fallback_exc, "keywords", {}))
        return unavailable


def _is_over(sleep_s: float) -> bool:
    """Return whether the deadline is over after a sleep."""
    deadline = _deadline.get()
    return deadline is not None and time.monotonic() + sleep_s > deadline


#: A write that needs the same locks, server and columns as a result does.
CHANGE_NOTHING = (
    update(taskmeta)
    .values(forgotten=taskmeta.c.forgotten, error_group=taskmeta.c.error_group)
    .where(taskmeta.c.task_id == "")
)

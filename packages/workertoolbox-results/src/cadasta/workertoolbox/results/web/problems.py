"""Errors as pages and as problem details (RFC 9457), with a sentence that helps."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import ClassVar

from sqlalchemy.exc import TimeoutError as PoolTimeout
from starlette.exceptions import HTTPException

from cadasta.workertoolbox.results._database.outages import one_line
from cadasta.workertoolbox.results._errors import (
    DatabaseUnavailable,
    InvalidGrouping,
    InvalidLimit,
    InvalidWindow,
    ResultsError,
    SchemaOutdated,
    UnknownErrorState,
    UnknownStatus,
)
from cadasta.workertoolbox.results._json_record import JsonRecord
from cadasta.workertoolbox.results._query_errors import (
    InvalidPage,
    InvalidPageSize,
    InvalidQuery,
    InvalidTime,
    QueryTimeout,
)

logger = logging.getLogger(__name__)

#: Statuses of errors; a class counts for its subclasses. Errors about something that
#: does not exist are `LookupError`s.
_STATUSES: dict[type[Exception], HTTPStatus] = {
    InvalidGrouping: HTTPStatus.BAD_REQUEST,
    InvalidLimit: HTTPStatus.BAD_REQUEST,
    InvalidPage: HTTPStatus.BAD_REQUEST,
    InvalidPageSize: HTTPStatus.BAD_REQUEST,
    InvalidQuery: HTTPStatus.BAD_REQUEST,
    InvalidTime: HTTPStatus.BAD_REQUEST,
    InvalidWindow: HTTPStatus.BAD_REQUEST,
    UnknownErrorState: HTTPStatus.BAD_REQUEST,
    UnknownStatus: HTTPStatus.BAD_REQUEST,
    DatabaseUnavailable: HTTPStatus.SERVICE_UNAVAILABLE,
    SchemaOutdated: HTTPStatus.SERVICE_UNAVAILABLE,
    LookupError: HTTPStatus.NOT_FOUND,
}


@dataclass(frozen=True, slots=True)
class Problem(JsonRecord):
    """What went wrong, for a person.

    Attributes:
        status: The HTTP status.
        detail: One sentence that says what is wrong and what to do.
        marked: The text of an invalid query, with a caret below the column.
        headers: Headers of the response.
    """

    json_hidden: ClassVar = frozenset({"headers"})
    json_added: ClassVar = {"type": "type", "title": "title", "status": "code"}
    json_first: ClassVar = ("type", "title", "status")

    status: HTTPStatus
    detail: str
    marked: str | None = None
    headers: dict[str, str] = field(default_factory=dict)

    @property
    def type(self) -> str:
        """The kind of problem: `about:blank` means that the status says it."""
        return "about:blank"

    @property
    def title(self) -> str:
        """The phrase of the status, such as `Not Found`."""
        return self.status.phrase

    @property
    def code(self) -> int:
        """The HTTP status."""
        return int(self.status)


def problem_of(error: Exception) -> Problem:
    """Return the problem of an error; one that is not expected is logged."""
    if isinstance(error, HTTPException):
        status = HTTPStatus(error.status_code)
        detail = error.detail if error.detail != status.phrase else status.description
        return Problem(status, detail, headers=dict(error.headers or {}))
    if isinstance(error, QueryTimeout):
        return Problem(HTTPStatus.GATEWAY_TIMEOUT, _text_of_timeout(error))
    if isinstance(error, ResultsError):
        for kind, status in _STATUSES.items():
            if isinstance(error, kind):
                marked = error.marked if isinstance(error, InvalidQuery) else None
                return Problem(status, str(error), marked)
    if isinstance(error, PoolTimeout):
        logger.warning("%s; the database is too slow for its viewers", one_line(error))
        return Problem(
            HTTPStatus.SERVICE_UNAVAILABLE,
            "all connections to the database are in use; try again later, or close "
            "pages that are slow",
            headers={"retry-after": "10"},
        )
    logger.error("a page could not be shown", exc_info=error)
    return Problem(
        HTTPStatus.INTERNAL_SERVER_ERROR,
        "the page could not be shown; the log of the server has the error",
    )


def _text_of_timeout(error: QueryTimeout) -> str:
    """Return what a viewer can do, who has no options of commands and no store."""
    narrow = error.narrow.replace(" (--since)", "")
    advice = f"to narrow it: {narrow}" if narrow else "the database is busy or locked"
    took = f"the query was cancelled after {error.after_s:.2g} s"
    return f"{took}; {advice}{'' if narrow else ', so try again'}"

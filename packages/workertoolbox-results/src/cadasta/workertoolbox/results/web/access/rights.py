"""What users may change, and what the role of the database may."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus

from sqlalchemy.exc import DBAPIError
from starlette.exceptions import HTTPException
from starlette.requests import Request

from cadasta.workertoolbox.results._database.outages import is_refused, one_line
from cadasta.workertoolbox.results._errors import DatabaseUnavailable
from cadasta.workertoolbox.results.web.access.viewer import viewer_of

#: What users may be allowed to do, by the name of the right.
RIGHTS = {
    "errors": "resolve, ignore and reopen groups of errors",
    "rerun": "run tasks again",
}


def require(request: Request, right: str) -> None:
    """Refuse a user without a right.

    Raises:
        HTTPException: The user does not have it.
    """
    if not viewer_of(request).may(right):
        raise HTTPException(
            HTTPStatus.FORBIDDEN,
            f"you may not {RIGHTS[right]} here; it takes a login, or the machine of "
            f"the server, and `--operator --allow {right}`",
        )


@contextmanager
def explained_refusal(role: str) -> Iterator[None]:
    """Say which privileges the role of the database lacks if it refuses a change.

    Args:
        role: The documented role that may make the change, with its article.

    Raises:
        HTTPException: The database does not allow the change.
    """
    try:
        yield
    except DatabaseUnavailable as error:
        cause = error.__cause__
        if not isinstance(cause, DBAPIError) or not is_refused(cause):
            raise
        raise HTTPException(
            HTTPStatus.FORBIDDEN,
            f"the database does not let these pages do that: {one_line(cause)}; it "
            f"takes a role with the privileges of {role}, see docs/how-to/database.md",
        ) from error

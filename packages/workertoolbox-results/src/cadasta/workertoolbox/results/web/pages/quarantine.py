"""The page `/quarantine`."""

from __future__ import annotations

import re

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from cadasta.workertoolbox.results._query_errors import InvalidPage
from cadasta.workertoolbox.results.web.site import site_of

#: Number of messages on a page.
PER_PAGE = 25

#: Bytes that are shown of a body, and characters of headers.
SHOWN = 4000

_NUMBER = re.compile(r"[0-9]{1,18}")


def show(request: Request) -> Response:
    """Return the page."""
    site = site_of(request)
    before = _read_before(request.query_params.get("before", ""))
    found = site.store.quarantined(
        limit=PER_PAGE + 1, before=before, excerpt_size=SHOWN
    )
    return site.page(
        request,
        "quarantine.html",
        messages=found[:PER_PAGE],
        older=found[PER_PAGE - 1].id if len(found) > PER_PAGE else None,
        is_first=before is None,
        shown=SHOWN,
    )


def _read_before(text: str) -> int | None:
    """Return the number of a message, before which those of the page are.

    Raises:
        InvalidPage: It is not a number.
    """
    if not text:
        return None
    if not _NUMBER.fullmatch(text):
        raise InvalidPage(text, "is not the number of a message")
    return int(text)


ROUTES = [Route("/quarantine", show, name="quarantine")]

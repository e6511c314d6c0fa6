"""The page `/workers`."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from cadasta.workertoolbox.results.web.site import site_of


def show(request: Request) -> Response:
    """Return the page."""
    return site_of(request).page(request, "workers.html")


ROUTES = [Route("/workers", show, name="workers")]

"""The page `/workflows/ID`."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from cadasta.workertoolbox.results.web.site import site_of


def show(request: Request) -> Response:
    """Return the page of a workflow."""
    site = site_of(request)
    workflow = site.store.workflow(request.path_params["id"])
    return site.page(request, "workflow.html", workflow=workflow)


ROUTES = [Route("/workflows/{id:path}", show, name="workflow")]

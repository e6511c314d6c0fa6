"""The page `/tasks/ID`."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from cadasta.workertoolbox.results.web.site import site_of


def show(request: Request) -> Response:
    """Return the page of a task."""
    site = site_of(request)
    task = site.store.get(request.path_params["id"])
    return site.page(request, "task.html", task=task)


ROUTES = [Route("/tasks/{id:path}", show, name="task")]

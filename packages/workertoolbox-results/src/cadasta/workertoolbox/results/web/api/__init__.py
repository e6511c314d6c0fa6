"""The JSON API: one module for each kind of data, with its endpoints."""

from __future__ import annotations

from functools import cache
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Mount, Route

from cadasta.workertoolbox.results.web.api import (
    errors,
    figures,
    fleet,
    operations,
    queues,
    tasks,
    workflows,
)
from cadasta.workertoolbox.results.web.api.document import make_document
from cadasta.workertoolbox.results.web.api.endpoints import METHODS, show_methods

#: The path of the API. A change that could break a client gets a new number.
PATH = "/api/v1"

ENDPOINTS = (
    *tasks.ENDPOINTS,
    *workflows.ENDPOINTS,
    *figures.ENDPOINTS,
    *queues.ENDPOINTS,
    *errors.ENDPOINTS,
    *fleet.ENDPOINTS,
    *operations.ENDPOINTS,
)


@cache
def _document() -> dict[str, Any]:
    return make_document(ENDPOINTS)


def show_document(request: Request) -> Response:
    """Return the OpenAPI document."""
    if request.method == "OPTIONS":
        return show_methods()
    servers = [{"url": f"{request.state.root}{PATH}"}]
    return JSONResponse(_document() | {"servers": servers})


ROUTES: list[BaseRoute] = [
    Mount(
        PATH,
        routes=[
            Route("/openapi.json", show_document, methods=METHODS, name="api_document"),
            *(each.route() for each in ENDPOINTS),
        ],
    )
]

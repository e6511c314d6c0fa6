"""The ASGI app with all pages."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Mount
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Receive, Scope, Send

from cadasta.workertoolbox.results._errors import ResultsError
from cadasta.workertoolbox.results._store.store import TaskStore
from cadasta.workertoolbox.results.web.pages import ROUTES
from cadasta.workertoolbox.results.web.problems import problem_of
from cadasta.workertoolbox.results.web.readiness import Readiness
from cadasta.workertoolbox.results.web.refresher import Refresher
from cadasta.workertoolbox.results.web.security_headers import SecurityHeaders
from cadasta.workertoolbox.results.web.site import Site, site_of

#: Seconds for which browsers keep a static file. Its path has the version.
_STATIC_AGE_S = 365 * 86_400

#: Bytes from which a response is compressed.
_MIN_COMPRESSED = 1000


class _Root:
    """Middleware that keeps the path below which the app is mounted.

    Starlette changes `root_path` in the scope while it looks for a route.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope.setdefault("state", {})["root"] = scope.get("root_path", "").rstrip("/")
        await self.app(scope, receive, send)


class _StaticFiles(StaticFiles):
    """Files in the wheel, that browsers keep."""

    async def get_response(self, path: str, scope: Scope) -> Response:
        response = await super().get_response(path, scope)
        response.headers["cache-control"] = f"public, max-age={_STATIC_AGE_S}"
        return response


def create_app(store: TaskStore, *, prefix: str = "") -> Starlette:
    """Return an ASGI app with web pages about the tasks in a database.

    No page writes into the database.

    Example:
        Mount the pages in an application, behind its own login::

            from fastapi import FastAPI

            app = FastAPI()
            app.mount("/tasks", create_app(store))

    Args:
        store: The database. `timeout_s` of the store limits each query.
        prefix: The path below which a proxy forwards requests, such as `/tasks`, if
            it does not remove it. An app that is mounted needs none.
    """
    refresher = Refresher(store)

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        # Of an app that is mounted, it is not called; the thread ends without viewers.
        yield
        await run_in_threadpool(refresher.stop)

    static = _StaticFiles(directory=Path(__file__).with_name("static"))
    routes = [
        Mount("/static/{version}", static, name="static"),
        Mount("", routes=ROUTES, middleware=[Middleware(Readiness, store=store)]),
    ]
    inside = Starlette(
        routes=routes,
        middleware=[
            Middleware(_Root),
            Middleware(SecurityHeaders),
            Middleware(GZipMiddleware, minimum_size=_MIN_COMPRESSED),
        ],
        exception_handlers={
            HTTPException: show_problem,
            ResultsError: show_problem,
            Exception: show_problem,
        },
        lifespan=lifespan,
    )
    inside.state.site = Site(store, refresher)
    if not prefix:
        return inside
    outside = Mount(f"/{prefix.strip('/')}", inside)
    return Starlette(routes=[outside], lifespan=lifespan)


def show_problem(request: Request, error: Exception) -> Response:
    """Return an error as a page, or as problem details for programs."""
    problem = problem_of(error)
    if request.url.path.removeprefix(request.state.root).startswith("/api/"):
        return JSONResponse(
            problem.as_json(),
            problem.status,
            problem.headers,
            media_type="application/problem+json",
        )
    response = site_of(request).page(
        request, "problem.html", status=problem.status, problem=problem
    )
    response.headers.update(problem.headers)
    return response

"""The ASGI app with all pages."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from sqlalchemy.exc import TimeoutError as PoolTimeout
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Mount
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Receive, Scope, Send

from cadasta.workertoolbox.results._errors import ResultsError
from cadasta.workertoolbox.results._store.store import TaskStore
from cadasta.workertoolbox.results.web.access.gate import Access, Gate
from cadasta.workertoolbox.results.web.access.logins import Login
from cadasta.workertoolbox.results.web.answers.refresher import Refresher
from cadasta.workertoolbox.results.web.api import ROUTES as API_ROUTES
from cadasta.workertoolbox.results.web.operating.operator import Operator
from cadasta.workertoolbox.results.web.pages import ROUTES, error_states
from cadasta.workertoolbox.results.web.pages.login import login_routes, logout_routes
from cadasta.workertoolbox.results.web.pages.operations import operation_routes
from cadasta.workertoolbox.results.web.pages.rerun import rerun_routes
from cadasta.workertoolbox.results.web.readiness import Readiness
from cadasta.workertoolbox.results.web.security_headers import SecurityHeaders
from cadasta.workertoolbox.results.web.site import Site, site_of
from cadasta.workertoolbox.results.web.turns import Turns

#: Seconds for which browsers keep a static file. Its path has the version.
_STATIC_AGE_S = 365 * 86_400

#: Bytes from which a response is compressed.
_MIN_COMPRESSED = 1000

#: Takes half the time of level 9, and makes pages 5 % larger.
_COMPRESSION_LEVEL = 5


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


def create_app(
    store: TaskStore,
    *,
    prefix: str = "",
    login: Login | None = None,
    operator: Operator | None = None,
) -> Starlette:
    """Return an ASGI app with web pages about the tasks in a database.

    Without an operator, no page writes into the database.

    Example:
        Mount the pages in an application, behind a password::

            from fastapi import FastAPI

            app = FastAPI()
            login = PasswordLogin(os.environ["TASKS_PASSWORD"])
            app.mount("/tasks", create_app(store, login=login))

    Args:
        store: The database. `timeout_s` of the store limits each query.
        prefix: The path below which a proxy forwards requests, such as `/tasks`, if
            it does not remove it. An app that is mounted needs none.
        login: How users are known: a `PasswordLogin`, a `ProxyLogin` or an `AppLogin`.
            Without one, everyone who can reach the app sees the pages.
        operator: Lets users change something. Without a login, only users of this
            machine can.
    """
    access = Access(login, operator.rights if operator else ())
    static = _StaticFiles(directory=Path(__file__).with_name("static"))
    routes = [
        Mount("/static/{version}", static, name="static"),
        *login_routes(access),
        Mount(
            "",
            routes=[
                *logout_routes(access),
                *_operator_routes(operator),
                *API_ROUTES,
                *ROUTES,
            ],
            middleware=[
                Middleware(Gate, access=access),
                Middleware(Turns),
                Middleware(Readiness, store=store),
            ],
        ),
    ]
    inside = Starlette(
        routes=routes,
        middleware=[
            Middleware(_Root),
            Middleware(SecurityHeaders),
            Middleware(
                GZipMiddleware,
                minimum_size=_MIN_COMPRESSED,
                compresslevel=_COMPRESSION_LEVEL,
            ),
        ],
        exception_handlers={
            HTTPException: show_problem,
            ResultsError: show_problem,
            PoolTimeout: show_problem,
            Exception: show_problem,
        },
    )
    inside.state.site = Site(store, Refresher(store), Refresher(store))
    if not prefix:
        return inside
    outside = Starlette(routes=[Mount(f"/{prefix.strip('/')}", inside)])
    outside.state.site = inside.state.site
    return outside


def _operator_routes(operator: Operator | None) -> Iterator[BaseRoute]:
    """Yield the routes with which users change something, and those of the journal."""
    yield from operation_routes(operator.reruns if operator else None)
    if operator is not None:
        yield from error_states.ROUTES
        yield from rerun_routes(operator)


def show_problem(request: Request, error: Exception) -> Response:
    """Return an error as a page, or as problem details for programs."""
    problem = site_of(request).problem_of(error)
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

"""The view that answers with the web pages, below WSGI and ASGI."""

from __future__ import annotations

from functools import cache
from typing import Any

from django.contrib.auth.views import redirect_to_login
from django.http import HttpRequest, HttpResponse
from django.urls import NoReverseMatch, reverse
from django.views.decorators.http import require_safe
from starlette.applications import Starlette
from starlette.requests import HTTPConnection

from cadasta.workertoolbox.results._store.store import TaskStore
from cadasta.workertoolbox.results.django.background_loop import run_in_background
from cadasta.workertoolbox.results.django.store import find_store
from cadasta.workertoolbox.results.web.access.logins import AppLogin
from cadasta.workertoolbox.results.web.app import create_app

#: The key of the scope with the name of the user.
_USER = "workertoolbox.user"


@require_safe
def show(request: HttpRequest, path: str) -> HttpResponse:
    """Return a page to a user who may enter Django's administration.

    Others are sent to the login of the administration, or to `LOGIN_URL` if the project
    has no administration. Programs get an error instead.
    """
    user = request.user
    name = user.get_username() if user.is_active and user.is_staff else None
    if name is None and not path.startswith("api/"):
        if "HX-Request" in request.headers:
            # htmx loads the whole page again, which leads to the login.
            return HttpResponse(status=401, headers={"HX-Refresh": "true"})
        return redirect_to_login(request.get_full_path(), _login_url())
    scope = {**_scope(request, path), _USER: name}
    return run_in_background(_answer(_pages(find_store()), scope))


def _login_url() -> str | None:
    try:
        return str(reverse("admin:login"))
    except NoReverseMatch:
        return None


@cache
def _pages(store: TaskStore) -> Starlette:
    return create_app(store, login=AppLogin(_user))


def _user(connection: HTTPConnection) -> str | None:
    name: str | None = connection.scope[_USER]
    return name


def _scope(request: HttpRequest, path: str) -> dict[str, Any]:
    """Return a request of Django as one of ASGI."""
    client = request.META.get("REMOTE_ADDR")
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.4"},
        "http_version": "1.1",
        "method": request.method,
        "scheme": request.scheme,
        "root_path": request.path.removesuffix(path).rstrip("/"),
        "path": request.path,
        "query_string": request.META["QUERY_STRING"].encode("latin-1", "replace"),
        "headers": [
            (name.lower().encode("latin-1"), value.encode("latin-1", "replace"))
            for name, value in request.headers.items()
        ],
        "client": (client, 0) if client else None,
    }


async def _answer(app: Starlette, scope: dict[str, Any]) -> HttpResponse:
    """Call an ASGI app, and return its whole response.

    The longest one is a CSV file of 10,000 rows.
    """
    response = HttpResponse()
    del response.headers["content-type"]
    body = bytearray()

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Any) -> None:
        if message["type"] == "http.response.start":
            response.status_code = message["status"]
            for name, value in message["headers"]:
                response.headers[name.decode("latin-1")] = value.decode("latin-1")
        else:
            body.extend(message.get("body", b""))

    await app(scope, receive, send)
    response.content = bytes(body)
    return response

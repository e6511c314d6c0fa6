"""Middleware that lets known users in."""

from __future__ import annotations

import os
import re
from collections.abc import Collection
from http import HTTPStatus
from urllib.parse import quote

from starlette.concurrency import run_in_threadpool
from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import HTTPConnection, Request
from starlette.responses import RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from cadasta.workertoolbox.results.web.access.logins import (
    TOKEN_USER,
    Login,
    PasswordLogin,
    TooManyAttempts,
)
from cadasta.workertoolbox.results.web.access.sessions import (
    AGE_S,
    Session,
    Sessions,
)
from cadasta.workertoolbox.results.web.access.viewer import Viewer
from cadasta.workertoolbox.results.web.serving.address import is_loopback
from cadasta.workertoolbox.results.web.serving.proxies import client_of
from cadasta.workertoolbox.results.web.site import here, path

#: Headers of proxies. A request with one is not from this machine, even if its client
#: is: a proxy on this machine has passed it on.
_PROXY_HEADERS = re.compile("forwarded|via|x-real-ip|x-forwarded-.*")

_PORT = re.compile(r":\d+$")


class Access:
    """Who may see the pages of an app, and who may change something.

    Args:
        login: How users are known; None if everyone who reaches the pages sees them.
        rights: What users may change.
    """

    def __init__(self, login: Login | None, rights: Collection[str] = ()) -> None:
        self.login = login
        self.rights = frozenset(rights)
        self.sessions = Sessions(login.key if login else os.urandom(32))

    async def find_viewer(self, connection: HTTPConnection) -> Viewer | None:
        """Return the user of a request, or None if a login is needed.

        Raises:
            HTTPException: The request is refused.
        """
        address = client_of(connection.scope)
        session = self.sessions.open(connection.cookies.get(self.sessions.cookie))
        if isinstance(self.login, PasswordLogin):
            if token := _bearer(connection):
                await self._check_token(self.login, token, address)
                return Viewer(TOKEN_USER, address)
            return self._viewer(session.name, address, session) if session else None
        if self.login is not None:
            name = await run_in_threadpool(self.login.find_user, connection)
            return self._viewer(name, address, session) if name else None
        if is_local(connection):
            return self._viewer("", address, session)
        return Viewer("", address)

    def _viewer(self, name: str, address: str, session: Session | None) -> Viewer:
        if self.rights and (session is None or session.name != name):
            session = Session.begin(name)
        return Viewer(
            name,
            address,
            self.rights,
            session,
            self.sessions,
            isinstance(self.login, PasswordLogin),
        )

    async def _check_token(
        self, login: PasswordLogin, token: str, address: str
    ) -> None:
        try:
            is_right = await login.check(token, address)
        except TooManyAttempts as error:
            raise HTTPException(
                HTTPStatus.TOO_MANY_REQUESTS,
                "too many wrong tokens",
                {"retry-after": str(error.wait_s)},
            ) from None
        if not is_right:
            raise HTTPException(
                HTTPStatus.UNAUTHORIZED,
                "the token is wrong",
                {"www-authenticate": "Bearer"},
            )


class Gate:
    """Middleware that finds the user of each request, and refuses unknown ones."""

    def __init__(self, app: ASGIApp, *, access: Access) -> None:
        self.app = app
        self._access = access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        request = Request(scope)
        viewer = await self._access.find_viewer(request)
        if viewer is None:
            await self._refusal(request)(scope, receive, send)
            return
        request.state.viewer = viewer
        cookie = self._new_cookie(request, viewer)

        async def send_with_cookie(message: Message) -> None:
            if message["type"] == "http.response.start" and cookie:
                MutableHeaders(scope=message).append("set-cookie", cookie)
            await send(message)

        await self.app(scope, receive, send_with_cookie)

    def _new_cookie(self, request: Request, viewer: Viewer) -> str | None:
        """Return the cookie of a session that has just begun without a password."""
        if viewer.session is None or viewer.can_log_out:
            return None
        sessions = self._access.sessions
        before = sessions.open(request.cookies.get(sessions.cookie))
        if before == viewer.session:
            return None
        response = Response()
        value = sessions.seal(viewer.session)
        set_session(response, request, sessions.cookie, value)
        return response.headers["set-cookie"]

    def _refusal(self, request: Request) -> Response:
        """Return what an unknown user gets: the login for a page, else an error."""
        login = self._access.login
        is_asked = isinstance(login, PasswordLogin)
        inside = here(request)
        if is_asked and request.method in ("GET", "HEAD"):
            if request.headers.get("hx-request"):
                # htmx loads the whole page again, which leads to the login.
                return Response(status_code=401, headers={"hx-refresh": "true"})
            if not inside.startswith("/api/"):
                return RedirectResponse(
                    path(request, "login", query={"next": inside}),
                    HTTPStatus.SEE_OTHER,
                )
        status = HTTPStatus.UNAUTHORIZED if is_asked else HTTPStatus.FORBIDDEN
        headers = {"www-authenticate": "Bearer"} if is_asked else None
        detail = login.refusal if login else None
        raise HTTPException(status, detail, headers)


def set_session(response: Response, request: Request, cookie: str, value: str) -> None:
    """Set the cookie of a session; an empty value removes it."""
    response.set_cookie(
        cookie,
        value,
        max_age=AGE_S if value else 0,
        path=quote(request.state.root) or "/",
        secure=request.url.scheme == "https",
        httponly=True,
        samesite="lax",
    )


def is_local(connection: HTTPConnection) -> bool:
    """Return whether a request is from this machine, for a name that it has for itself.

    The name of another host may resolve to 127.0.0.1 for a moment, so that a page of
    that host could send forms by a browser on this machine (DNS rebinding).
    """
    name = _PORT.sub("", connection.headers.get("host", "")).strip("[]").lower()
    is_own_name = name == "localhost" or is_loopback(name)
    is_passed_on = any(map(_PROXY_HEADERS.fullmatch, connection.headers))
    return is_own_name and not is_passed_on and is_loopback(client_of(connection.scope))


def _bearer(connection: HTTPConnection) -> str | None:
    scheme, _, token = connection.headers.get("authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else None

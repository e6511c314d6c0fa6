"""The names under which a server may be reached."""

from __future__ import annotations

import re
from collections.abc import Collection
from http import HTTPStatus

from starlette.datastructures import Headers
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from cadasta.workertoolbox.results._safe_text import terminal_text

#: The names of this machine for itself.
LOCAL = ("localhost", "127.0.0.1", "[::1]")

_PORT = re.compile(r":\d+$")


class AllowedHosts:
    """Middleware that refuses requests for other hosts than the named ones.

    Without it, a page of another host could read the pages by a browser on this
    machine, if its name resolves to 127.0.0.1 for a moment (DNS rebinding).
    """

    def __init__(self, app: ASGIApp, *, hosts: Collection[str]) -> None:
        self._app = app
        self._hosts = {each.lower() for each in hosts}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a request."""
        if scope["type"] == "http":
            host = Headers(scope=scope).get("host", "")
            if _PORT.sub("", host).lower().rstrip(".") not in self._hosts:
                response = PlainTextResponse(
                    f"this server is not known as {terminal_text(host)!r}; if it "
                    "should be, start it with --host NAME\n",
                    HTTPStatus.MISDIRECTED_REQUEST,
                    {"x-content-type-options": "nosniff", "cache-control": "no-store"},
                )
                await response(scope, receive, send)
                return
        await self._app(scope, receive, send)

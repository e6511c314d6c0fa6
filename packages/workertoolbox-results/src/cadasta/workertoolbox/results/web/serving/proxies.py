"""Proxies that say from whom a request is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

_PEER = "workertoolbox.peer"


class TrustedProxies:
    """Middleware that believes what some proxies say of the client and the scheme.

    It replaces the same part of uvicorn, which does not keep the proxy's own address.
    """

    def __init__(self, app: ASGIApp, *, addresses: Sequence[str]) -> None:
        inner: Any = app
        self._app: Any = ProxyHeadersMiddleware(inner, trusted_hosts=[*addresses])

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a request."""
        await self._app({**scope, _PEER: client_of(scope)}, receive, send)


def client_of(scope: Scope) -> str:
    """Return the address of the client, or an empty text if it has none."""
    client = scope.get("client")
    return str(client[0]) if client else ""


def peer_of(scope: Scope) -> str:
    """Return the address at the other end of the connection: maybe that of a proxy."""
    return str(scope.get(_PEER) or client_of(scope))

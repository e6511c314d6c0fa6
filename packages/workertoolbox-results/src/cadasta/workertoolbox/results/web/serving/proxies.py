"""Proxies that say from whom a request is."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

logger = logging.getLogger(__name__)

_PEER = "workertoolbox.peer"

#: Headers in which a proxy says from whom a request is.
_FORWARDED = ("x-forwarded-for", "x-forwarded-proto", "forwarded")


class TrustedProxies:
    """Middleware that believes what some proxies say of the client and the scheme.

    It replaces the same part of uvicorn, which does not keep the proxy's own address.
    The first request that another proxy has passed on is logged.

    Args:
        addresses: Addresses and networks of the proxies.
    """

    def __init__(self, app: ASGIApp, *, addresses: Sequence[str]) -> None:
        inner: Any = app
        self._app: Any = ProxyHeadersMiddleware(inner, trusted_hosts=[*addresses])
        self._has_warned = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a request."""
        peer = client_of(scope)
        if not self._has_warned and scope["type"] == "http":
            self._warn_of_others(scope, peer)
        await self._app({**scope, _PEER: peer}, receive, send)

    def _warn_of_others(self, scope: Scope, peer: str) -> None:
        headers = Headers(scope=scope)
        if peer in self._app.trusted_hosts or not any(map(headers.get, _FORWARDED)):
            return
        self._has_warned = True
        logger.warning(
            "a proxy at %s passes requests on, and is not trusted: its users share one "
            "limit on wrong passwords, and their cookies lack Secure; if it is yours, "
            "add --trusted-proxy %s",
            *(peer, peer),
        )


def client_of(scope: Scope) -> str:
    """Return the address of the client, or an empty text if it has none."""
    client = scope.get("client")
    return str(client[0]) if client else ""


def peer_of(scope: Scope) -> str:
    """Return the address at the other end of the connection: maybe that of a proxy."""
    return str(scope.get(_PEER) or client_of(scope))

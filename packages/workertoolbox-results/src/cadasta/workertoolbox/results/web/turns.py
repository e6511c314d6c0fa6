"""How many requests may use the database at once."""

from __future__ import annotations

from http import HTTPStatus

import anyio
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

#: Number of requests that are answered at once. Starlette has forty threads: the others
#: are left for logins, static files, and the application that the pages are mounted in.
AT_ONCE = 30

#: Seconds for which a request waits for its turn.
PATIENCE_S = 10.0


class Turns:
    """Middleware that lets further requests wait without a thread.

    While the database is slow, each page keeps a thread busy until its timeout.

    Raises:
        HTTPException: A request has waited for too long.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app
        self._turns: anyio.Semaphore | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a request; its turn ends when its response begins."""
        if self._turns is None:
            # Not before there is an event loop.
            self._turns = anyio.Semaphore(AT_ONCE)
        turns = self._turns
        with anyio.move_on_after(PATIENCE_S) as waiting:
            await turns.acquire()
        if waiting.cancelled_caught:
            raise HTTPException(
                HTTPStatus.SERVICE_UNAVAILABLE,
                "too many pages wait for the database, which is slow; try again later",
                {"retry-after": "10"},
            )
        is_over = False

        async def send_and_end(message: Message) -> None:
            nonlocal is_over
            if not is_over:
                is_over = True
                turns.release()
            await send(message)

        try:
            await self.app(scope, receive, send_and_end)
        finally:
            if not is_over:
                turns.release()

"""Whether the database has the tables that the pages read."""

from __future__ import annotations

from starlette.concurrency import run_in_threadpool
from starlette.types import ASGIApp, Receive, Scope, Send

from cadasta.workertoolbox.results._database.schema import check_schema
from cadasta.workertoolbox.results._store.store import TaskStore


class Readiness:
    """Middleware that checks the schema, until it was found once.

    So the server can start before the database, and before its upgrade.

    Raises:
        DatabaseUnavailable: The database cannot be reached.
        SchemaOutdated: The tables are missing or too old.
    """

    def __init__(self, app: ASGIApp, *, store: TaskStore) -> None:
        self.app = app
        self._store = store
        self._is_ready = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a request."""
        if not self._is_ready:
            await run_in_threadpool(check_schema, self._store.engine)
            self._is_ready = True
        await self.app(scope, receive, send)

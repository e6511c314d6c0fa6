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
        QueryTimeout: It does not answer within the store's `timeout_s`.
        SchemaOutdated: The tables are missing or too old.
    """

    def __init__(self, app: ASGIApp, *, store: TaskStore) -> None:
        self.app = app
        self._store = store
        self._is_ready = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a request."""
        if not self._is_ready:
            store = self._store
            await run_in_threadpool(
                check_schema, store.engine, timeout_s=store.timeout_s
            )
            self._is_ready = True
        await self.app(scope, receive, send)

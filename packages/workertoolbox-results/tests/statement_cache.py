"""One cache of compiled statements for the engines of all tests.

SQLAlchemy caches compiled statements for each engine. Each test opens engines of its
own, so compiling took a quarter of the time of all tests. A process of a service has
one engine, whose cache outlives a statement as this one does.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, Engine, event
from sqlalchemy.util import LRUCache

#: Number of statements, far more than the tests use again.
SIZE = 2000


class StatementCache:
    """Compiled statements of all engines with the same kind of database."""

    def __init__(self) -> None:
        self._statements: Any = LRUCache(SIZE)

    def get(self, key: tuple[Any, ...]) -> Any:
        """Return a compiled statement, or None."""
        return self._statements.get(self._shared(key))

    def __setitem__(self, key: tuple[Any, ...], statement: Any) -> None:
        self._statements[self._shared(key)] = statement

    def _shared(self, key: tuple[Any, ...]) -> tuple[Any, ...]:
        # Each engine has a dialect of its own, which begins the key.
        dialect, *rest = key
        return (dialect.name, dialect.driver, *rest)


def share_statements() -> None:
    """Let all engines of this process use one cache from now on."""
    cache: Any = StatementCache()

    @event.listens_for(Engine, "engine_connect")
    def use(connection: Connection) -> None:
        connection.engine._compiled_cache = cache

"""A statement that is compiled once, and executed by the driver itself.

SQLAlchemy takes as long to execute a statement as PostgreSQL takes to store a row;
where one is executed for every state of every task, it is left out of it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, cast

from sqlalchemy import ClauseElement, Dialect
from sqlalchemy.exc import DBAPIError

from cadasta.workertoolbox.results._database.connection import Database
from cadasta.workertoolbox.results._errors import SchemaOutdated


@dataclass(frozen=True)
class Statement:
    """SQL as the driver takes it.

    Attributes:
        sql: The statement, with the driver's own marks for the parameters.
        constants: Values of the parameters that are always the same.
        processors: What makes a value of ours one of the driver's, where it is another.
        order: Names of the parameters where the driver goes by their order.
    """

    sql: str
    constants: Mapping[str, Any] = field(default_factory=dict)
    processors: Mapping[str, Callable[[Any], Any]] = field(default_factory=dict)
    order: tuple[str, ...] | None = None

    def parameters(self, values: Mapping[str, Any]) -> Any:
        """Return values as the driver takes them."""
        given = {**self.constants, **values}
        for name, process in self.processors.items():
            given[name] = process(given[name])
        return given if self.order is None else [given[name] for name in self.order]


@dataclass(frozen=True)
class Outcome:
    """What a statement did.

    Attributes:
        rows: Those that it returned.
        count: How many it returned or changed.
    """

    rows: Sequence[Any]
    count: int


_NO_WAIT = Statement("SET LOCAL synchronous_commit TO off")


def compile_statement(dialect: Dialect, statement: ClauseElement) -> Statement:
    """Compile a statement, in which no list is a parameter, for a driver."""
    compiled: Any = statement.compile(dialect=dialect)
    constants = {
        name: value for name, value in compiled.params.items() if value is not None
    }
    processors = {}
    for bind, name in compiled.bind_names.items():
        process = bind.type.dialect_impl(dialect).bind_processor(dialect)
        if process is not None and name not in constants:
            processors[name] = process
    order = tuple(compiled.positiontup) if compiled.positional else None
    return Statement(str(compiled), constants, processors, order)


def execute(
    database: Database,
    statements: Sequence[Statement],
    values: Mapping[str, Any],
    *,
    synchronous_commit: bool = True,
) -> Outcome:
    """Execute statements as one transaction, and return what the last did.

    Args:
        database: Its connection commits by itself.
        values: One for each parameter that is no constant; the statements share them.
        synchronous_commit: Whether a commit in PostgreSQL waits for the disk.

    Raises:
        DBAPIError: Whatever the driver raises, as SQLAlchemy would have it.
        SchemaOutdated: A table is missing.
    """
    dialect = database.dialect
    if not synchronous_commit and dialect.name == "postgresql":
        statements = [_NO_WAIT, *statements]
    driver = cast(Any, dialect.loaded_dbapi)
    gone = True
    try:
        with database.connect() as connection:
            proxied = connection.connection
            cursor = proxied.cursor()
            try:
                return _execute(dialect, cursor, statements, values)
            except driver.Error as error:
                gone = dialect.is_disconnect(error, cast(Any, proxied), cursor)
                if gone:
                    connection.invalidate(error)
                raise
            except BaseException:
                # Interrupted, in the midst of nobody knows what.
                connection.invalidate()
                raise
    except driver.Error as error:
        if _misses_a_table(error):
            raise SchemaOutdated(
                f"the database lacks a table that this release needs ({error}); run "
                "`celery -A … tasks upgrade`"
            ) from error
        # The values are left out: they are the users' own.
        raise DBAPIError.instance(
            "; ".join(each.sql for each in statements),
            None,
            error,
            driver.Error,
            hide_parameters=True,
            connection_invalidated=gone,
            dialect=dialect,
        ) from error


def _execute(
    dialect: Dialect,
    cursor: Any,
    statements: Sequence[Statement],
    values: Mapping[str, Any],
) -> Outcome:
    given = [(each.sql, each.parameters(values)) for each in statements]
    if len(given) == 1:
        cursor.execute(*given[0])
        return _outcome(cursor)
    if dialect.driver == "psycopg2":
        # As one string they are one transaction, and one round trip.
        cursor.execute(b"; ".join(cursor.mogrify(*each) for each in given))
        return _outcome(cursor)
    cursor.execute("BEGIN IMMEDIATE" if dialect.name == "sqlite" else "BEGIN")
    try:
        for each in given:
            cursor.execute(*each)
            outcome = _outcome(cursor)
        cursor.execute("COMMIT")
    except dialect.loaded_dbapi.Error:
        with suppress(dialect.loaded_dbapi.Error):
            cursor.execute("ROLLBACK")
        raise
    return outcome


def _outcome(cursor: Any) -> Outcome:
    rows = cursor.fetchall() if cursor.description else ()
    return Outcome(rows, cursor.rowcount)


def _misses_a_table(error: Exception) -> bool:
    # PostgreSQL's "undefined_table"; SQLite has only its words for it.
    return getattr(error, "pgcode", None) == "42P01" or "no such table" in str(error)

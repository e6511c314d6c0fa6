"""SQL statements that are compiled once and executed by the driver itself.

SQLAlchemy needs as long to execute a statement as PostgreSQL needs to store a row. The
statements that workers execute for every state of every task therefore bypass it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, cast

from sqlalchemy import ClauseElement, Dialect
from sqlalchemy.exc import DBAPIError

from cadasta.workertoolbox.results._database.connection import Database
from cadasta.workertoolbox.results._database.outages import is_outdated_schema, one_line
from cadasta.workertoolbox.results._errors import (
    ResultNotStorable,
    SchemaOutdated,
)


@dataclass(frozen=True)
class Statement:
    """A statement in the form that a driver accepts.

    Attributes:
        sql: The statement, with the driver's placeholders for parameters.
        constants: Parameters whose values are always the same.
        processors: Functions that convert values for the driver, by parameter.
        order: Names of the parameters in order if the driver's placeholders are
            positional, else None.
    """

    sql: str
    constants: Mapping[str, Any] = field(default_factory=dict)
    processors: Mapping[str, Callable[[Any], Any]] = field(default_factory=dict)
    order: tuple[str, ...] | None = None

    def parameters(self, values: Mapping[str, Any]) -> Any:
        """Return the parameters for the driver: a list if it is positional, or a dict.

        Args:
            values: The values of all parameters that are not constant.
        """
        parameters = {**self.constants, **values}
        for name, process in self.processors.items():
            parameters[name] = process(parameters[name])
        if self.order is None:
            return parameters
        return [parameters[name] for name in self.order]


@dataclass(frozen=True)
class Outcome:
    """The outcome of a statement.

    Attributes:
        rows: The rows that it returned.
        count: How many rows it returned or changed.
    """

    rows: Sequence[Any]
    count: int


#: Maximum size of all values of a statement in PostgreSQL. The driver sends a byte as
#: two characters, and the parser of the server cannot allocate a GiB for them.
MAX_BYTES = 2**28 - 2**16

#: Size of the values of a statement from which it may fail because of its size.
MIN_LARGE_BYTES = 2**20

_ASYNCHRONOUS_COMMIT = Statement("SET LOCAL synchronous_commit TO off")


def compile_statement(dialect: Dialect, statement: ClauseElement) -> Statement:
    """Compile a statement for a driver.

    Args:
        statement: Must not have a list as a parameter (an `IN` that expands).
    """
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
    """Execute statements in one transaction, and return the outcome of the last.

    Args:
        values: The values of all parameters that are not constant, for all statements
            together.
        synchronous_commit: Whether a commit in PostgreSQL waits for the disk.

    Raises:
        DBAPIError: The driver raised an error. It is wrapped as SQLAlchemy would, and
            has the size of the values in an attribute `size_bytes`.
        ResultNotStorable: The values are too large for PostgreSQL.
        SchemaOutdated: A table or a column is missing.
    """
    size = sum(len(each) for each in values.values() if isinstance(each, bytes | str))
    if size > MAX_BYTES and database.dialect.name == "postgresql":
        raise ResultNotStorable(
            f"{size} bytes are more than PostgreSQL takes in a row ({MAX_BYTES}); "
            "return a reference to the data instead of the data"
        )
    if not synchronous_commit and database.dialect.name == "postgresql":
        statements = [_ASYNCHRONOUS_COMMIT, *statements]
    driver = cast(Any, database.dialect.loaded_dbapi)
    # If the driver cannot open a cursor, the connection is dead.
    is_disconnected = True
    try:
        with database.connect() as connection:
            proxied = connection.connection
            cursor = proxied.cursor()
            try:
                return _execute_all(database.dialect, cursor, statements, values)
            except driver.Error as error:
                is_disconnected = database.dialect.is_disconnect(
                    error, cast(Any, proxied), cursor
                )
                if is_disconnected:
                    connection.invalidate(error)
                raise
            except BaseException:
                # Interrupted, as by a time limit: the transaction may still be open.
                connection.invalidate()
                raise
    except driver.Error as error:
        if is_outdated_schema(error):
            raise SchemaOutdated(
                "the database lacks a table or column that this release needs "
                f"({one_line(error)}); run `celery -A … tasks upgrade`"
            ) from error
        # The values may be confidential, so the error does not show them.
        wrapped: Any = DBAPIError.instance(
            "; ".join(each.sql for each in statements),
            None,
            error,
            driver.Error,
            hide_parameters=True,
            connection_invalidated=is_disconnected,
            dialect=database.dialect,
        )
        wrapped.size_bytes = size
        raise wrapped from error


def _execute_all(
    dialect: Dialect,
    cursor: Any,
    statements: Sequence[Statement],
    values: Mapping[str, Any],
) -> Outcome:
    calls = [(each.sql, each.parameters(values)) for each in statements]
    if len(calls) == 1:
        cursor.execute(*calls[0])
        return _outcome(cursor)
    if dialect.driver == "psycopg2":
        # Joined into one string, they are one transaction and one round trip.
        cursor.execute(b"; ".join(cursor.mogrify(*call) for call in calls))
        return _outcome(cursor)
    cursor.execute("BEGIN IMMEDIATE" if dialect.name == "sqlite" else "BEGIN")
    try:
        for call in calls:
            cursor.execute(*call)
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

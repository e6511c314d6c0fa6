"""A statement that is compiled once, and executed by the driver itself.

SQLAlchemy takes as long to execute a statement as PostgreSQL takes to store a row;
where one is executed for every state of every task, it is left out of it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any, cast

from sqlalchemy import ClauseElement, Dialect, Engine
from sqlalchemy.exc import DBAPIError


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
    constants: Mapping[str, Any]
    processors: Mapping[str, Callable[[Any], Any]]
    order: tuple[str, ...] | None

    def parameters(self, values: Mapping[str, Any]) -> Any:
        """Return values as the driver takes them."""
        given = {**self.constants, **values}
        for name, process in self.processors.items():
            given[name] = process(given[name])
        return given if self.order is None else [given[name] for name in self.order]


def compile_for(dialect: Dialect, statement: ClauseElement) -> Statement:
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
    engine: Engine, statement: Statement, values: Mapping[str, Any]
) -> Sequence[Any]:
    """Execute a statement as a transaction of its own, and return its rows.

    Args:
        engine: Its connections commit by themselves.
        values: One for each parameter that is no constant.

    Raises:
        DBAPIError: Whatever the driver raises, as SQLAlchemy would have it.
    """
    dialect = engine.dialect
    driver = cast(Any, dialect.loaded_dbapi)
    gone = True
    try:
        with closing(engine.raw_connection()) as connection:
            cursor = connection.cursor()
            try:
                cursor.execute(statement.sql, statement.parameters(values))
                return cursor.fetchall() if cursor.description else []
            except driver.Error as error:
                gone = dialect.is_disconnect(error, cast(Any, connection), cursor)
                if gone:
                    connection.invalidate(error)
                raise
            finally:
                cursor.close()
    except driver.Error as error:
        # The values are left out: they are the users' own.
        raise DBAPIError.instance(
            statement.sql,
            None,
            error,
            driver.Error,
            hide_parameters=True,
            connection_invalidated=gone,
            dialect=dialect,
        ) from error

"""Column types that behave the same on PostgreSQL and SQLite."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, tzinfo
from typing import Any

from sqlalchemy import JSON, ColumnElement, DateTime, Dialect
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement
from sqlalchemy.types import TypeDecorator

#: The first and the last instant that are read. Databases hold others, such as
#: `infinity`, but Python has none, and needs a day at both ends for time zones.
FIRST = datetime(1, 1, 2, tzinfo=UTC)
LAST = datetime(9999, 12, 30, tzinfo=UTC)

#: In comparisons, the instant of what has not happened yet.
NEVER = datetime.max.replace(tzinfo=UTC)


class _Readable(FunctionElement[Any]):
    """A time without a time zone that Python can represent.

    psycopg2 converts a time with a zone to the time zone of the session, in which it
    may be before the year 1 or after the year 9999.
    """

    name = "readable"
    inherit_cache = True

    def __init__(self, column: ColumnElement[Any]) -> None:
        super().__init__(column)
        self.type = column.type


@compiles(_Readable)
def _compile_unchanged(element: _Readable, compiler: SQLCompiler, **kw: Any) -> str:
    return compiler.process(element.clauses, **kw)


@compiles(_Readable, "postgresql")
def _compile_clamped(element: _Readable, compiler: SQLCompiler, **kw: Any) -> str:
    [column] = element.clauses
    value = compiler.process(column, **kw)
    has_zone = isinstance(column.type, Instant)
    first, last = (
        f"TIMESTAMPTZ '{each.isoformat()}'"
        if has_zone
        else f"TIMESTAMP '{each.replace(tzinfo=None).isoformat()}'"
        for each in (FIRST, LAST)
    )
    clamped = (
        f"CASE WHEN {value} < {first} THEN {first} WHEN {value} > {last} THEN {last} "
        f"ELSE {value} END"
    )
    return f"({clamped}) AT TIME ZONE 'UTC'" if has_zone else clamped


class _Time(TypeDecorator[datetime]):
    """A time; one that Python cannot represent is read as the nearest that it can."""

    impl: Any = DateTime
    cache_ok = True

    def column_expression(self, column: ColumnElement[Any]) -> ColumnElement[Any]:
        return _Readable(column)

    def result_processor(
        self, dialect: Dialect, coltype: object
    ) -> Callable[[Any], Any] | None:
        read = super().result_processor(dialect, coltype)
        if read is None or dialect.name != "sqlite":
            return read
        # SQLite stores times as text, which may be anything.
        zone = UTC if isinstance(self, Instant) else None
        return lambda value: _read_text(read, value, zone)


class Instant(_Time):
    """An instant: aware UTC in Python, `timestamptz` in PostgreSQL, text in SQLite."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def result_processor(
        self, dialect: Dialect, coltype: object
    ) -> Callable[[Any], Any] | None:
        # Without the layers of SQLAlchemy, which count in thousands of rows.
        if dialect.name == "postgresql":
            return read_instant
        return super().result_processor(dialect, coltype)

    def process_bind_param(
        self, value: datetime | None, dialect: Dialect
    ) -> datetime | None:
        return value and value.astimezone(UTC)

    def process_result_value(self, value: Any, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        aware: datetime = value if value.tzinfo else value.replace(tzinfo=UTC)
        in_utc = aware if aware.tzinfo is UTC else aware.astimezone(UTC)
        return in_utc if FIRST < in_utc < LAST else min(max(in_utc, FIRST), LAST)


def read_instant(value: datetime | None) -> datetime | None:
    """Return an instant that PostgreSQL has sent."""
    if value is None:
        return None
    if value.tzinfo is None:
        # In SQL, it was limited and converted to UTC. `replace` would take five times
        # as long.
        return datetime.combine(value, value.time(), UTC)
    in_utc = value if value.tzinfo is UTC else value.astimezone(UTC)
    return in_utc if FIRST < in_utc < LAST else min(max(in_utc, FIRST), LAST)


class NaiveInstant(_Time):
    """An instant in Celery's tables: in UTC, without a time zone."""

    cache_ok = True


class NaiveUTC(FunctionElement[datetime]):
    """SQL for an `Instant` as a `NaiveInstant`."""

    name = "naive_utc"
    inherit_cache = True
    type = NaiveInstant()


@compiles(NaiveUTC)
def _compile_stored(element: NaiveUTC, compiler: SQLCompiler, **kw: Any) -> str:
    return compiler.process(element.clauses, **kw)


@compiles(NaiveUTC, "postgresql")
def _compile_naive(element: NaiveUTC, compiler: SQLCompiler, **kw: Any) -> str:
    return f"({compiler.process(element.clauses, **kw)}) AT TIME ZONE 'UTC'"


def naive_utc(instant: datetime) -> datetime:
    """Return an instant in UTC without a time zone, as in Celery's tables."""
    return instant.astimezone(UTC).replace(tzinfo=None)


def _read_text(read: Callable[[Any], Any], value: Any, zone: tzinfo | None) -> Any:
    try:
        return read(value)
    except (ValueError, TypeError):
        year = str(value).partition("-")[0]
        is_later = len(year) > len("9999") and year.isdecimal()
        return (LAST if is_later else FIRST).replace(tzinfo=zone)


#: JSON that SQL expressions can read: `jsonb` in PostgreSQL.
Document = JSON(none_as_null=True).with_variant(JSONB(none_as_null=True), "postgresql")

"""The methods of `TaskStore` for messages that no monitor could read."""

from __future__ import annotations

from codecs import getincrementaldecoder
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, ClassVar

from sqlalchemy import Connection, LargeBinary, Text, cast, func, null, select

from cadasta.workertoolbox.results._database.tables import quarantine
from cadasta.workertoolbox.results._json_record import JsonRecord
from cadasta.workertoolbox.results._store.open_database import OpenDatabase

#: Maximum number of messages that are counted.
MAX_COUNTED = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class QuarantineExcerpt(JsonRecord):
    """The beginning of a message in quarantine, as it is stored: without secrets.

    Attributes:
        body: The beginning of the body; bytes that are not UTF-8 are escaped.
        headers: The beginning of the headers in JSON.
        headers_length: Number of characters of the headers.
    """

    body: str
    headers: str
    headers_length: int


@dataclass(frozen=True, slots=True, kw_only=True)
class QuarantineEntry(JsonRecord):
    """What is listed of a message in quarantine.

    Attributes:
        id: Number of the message.
        seen_at: When a monitor received it.
        routing_key: Its work queue.
        bytes: Size of the body.
        reason: Why it cannot be read.
        content_type: That of the body, as the message says.
        content_encoding: Likewise.
        task: Name of the task, if the message has one.
        task_id: Id of the task, likewise.
        excerpt: The beginning of the message, if it was asked for.
    """

    json_hidden: ClassVar = frozenset({"excerpt"})

    id: int
    seen_at: datetime
    routing_key: str | None
    bytes: int
    reason: str
    content_type: str | None
    content_encoding: str | None
    task: str | None
    task_id: str | None
    excerpt: QuarantineExcerpt | None = None


class Quarantine(OpenDatabase):
    """The methods of `TaskStore` for messages that no monitor could read."""

    def quarantined(
        self, *, limit: int = 50, before: int | None = None, excerpt_size: int = 0
    ) -> Sequence[QuarantineEntry]:
        """Return messages in quarantine, newest first.

        Example:
            All messages, in pages::

                page = store.quarantined()
                while page:
                    print(*(each.reason for each in page), sep="\\n")
                    page = store.quarantined(before=page[-1].id)

        Args:
            limit: Maximum number of messages.
            before: Only messages with a smaller number.
            excerpt_size: Bytes of the body, and characters of the headers, to read of
                each message.

        Raises:
            DatabaseUnavailable: The database cannot be reached or refuses the query.
        """
        columns = quarantine.c
        query = (
            select(
                *(columns.id, columns.seen_at, columns.routing_key, columns.reason),
                func.length(columns.body).label("bytes"),
                *(columns.content_type, columns.content_encoding),
                columns.headers["task"].as_string().label("task"),
                columns.headers["id"].as_string().label("task_id"),
            )
            .order_by(columns.id.desc())
            .limit(limit)
        )
        if before is not None:
            query = query.where(columns.id < before)
        with self._snapshot() as connection:
            rows = connection.execute(query).mappings().all()
            ids = [row["id"] for row in rows if excerpt_size]
            excerpts = _read_excerpts(connection, ids, excerpt_size)
        return [QuarantineEntry(**row, excerpt=excerpts.get(row["id"])) for row in rows]

    def count_quarantined(self) -> int:
        """Count the messages in quarantine.

        Raises:
            DatabaseUnavailable: The database cannot be reached or refuses the query.
        """
        query = select(func.count()).select_from(quarantine)
        with self._snapshot() as connection:
            return connection.execute(query).scalar_one()

    def quarantine_reasons(self, *, limit: int = 50) -> Sequence[str]:
        """Return why messages are in quarantine, newest message first.

        Args:
            limit: Maximum number of messages to look at.

        Raises:
            DatabaseUnavailable: The database cannot be reached or refuses the query.
        """
        query = (
            select(quarantine.c.reason).order_by(quarantine.c.id.desc()).limit(limit)
        )
        with self._snapshot() as connection:
            return connection.scalars(query).all()


def count_some(connection: Connection) -> int:
    """Count the messages in quarantine; more than `MAX_COUNTED` are not counted."""
    some = select(quarantine.c.id).limit(MAX_COUNTED).subquery()
    return connection.scalars(select(func.count()).select_from(some)).one()


def _read_excerpts(
    connection: Connection, ids: Sequence[int], size: int
) -> Mapping[int, QuarantineExcerpt]:
    """Return the beginnings of messages by number."""
    if not ids:
        return {}
    columns = quarantine.c
    headers = cast(columns.headers, Text)
    is_sqlite = connection.dialect.name == "sqlite"
    body = func.substr(columns.body, 1, size, type_=LargeBinary)
    query = select(
        columns.id,
        null() if is_sqlite else body,
        func.substr(headers, 1, size),
        func.length(headers),
    ).where(columns.id.in_(ids))
    found = {}
    for id, beginning, some, length in connection.execute(query):
        if is_sqlite:
            beginning = _read_beginning(connection, id, size)
        found[id] = QuarantineExcerpt(
            body=_text(bytes(beginning)), headers=some, headers_length=length
        )
    return found


def _read_beginning(connection: Connection, id: int, size: int) -> bytes:
    """Read the beginning of a body in SQLite, whose `substr` would read all of it."""
    driver: Any = connection.connection.driver_connection
    with driver.blobopen(quarantine.name, "body", id, readonly=True) as blob:
        return bytes(blob.read(size))


def _text(beginning: bytes) -> str:
    """Return bytes as text, without a character that is cut off at the end."""
    return getincrementaldecoder("utf-8")("backslashreplace").decode(beginning)

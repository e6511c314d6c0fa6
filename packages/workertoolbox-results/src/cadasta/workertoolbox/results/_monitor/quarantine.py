"""Messages that could not be read, and what can be done with them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any, Self

from kombu.message import Message
from sqlalchemy import Engine, RowMapping, delete, select
from sqlalchemy.exc import DBAPIError

from cadasta.workertoolbox.results._arguments.redaction import Redaction
from cadasta.workertoolbox.results._database.engine import is_outage, translate_errors
from cadasta.workertoolbox.results._database.tables import quarantine
from cadasta.workertoolbox.results._errors import NotInQuarantine
from cadasta.workertoolbox.results._monitor.decompression import left_compressed
from cadasta.workertoolbox.results._monitor.message import (
    Unreadable,
    read_task,
)
from cadasta.workertoolbox.results._monitor.records import QuarantineRecord
from cadasta.workertoolbox.results._monitor.upserts import write_batch


@dataclass(frozen=True, slots=True, kw_only=True)
class Quarantined(QuarantineRecord):
    """A message that could not be read, as it came.

    Attributes:
        id: Its number in the quarantine.
    """

    id: int

    @classmethod
    def of(cls, row: RowMapping) -> Self:
        """Return what a row holds; a driver may have its own type for bytes."""
        return cls(**{**row, "body": bytes(row["body"])})

    def as_json(self) -> dict[str, Any]:
        """Return it for `--json`; what is no text of the body is escaped."""
        text = self.body.decode("utf-8", "backslashreplace")
        seen_at = self.seen_at.isoformat()
        return {"id": self.id, **asdict(self), "body": text, "seen_at": seen_at}


def find_quarantined(engine: Engine, *, limit: int) -> Sequence[Quarantined]:
    """Return messages in quarantine, the newest first.

    Raises:
        DatabaseUnavailable: It cannot be reached.
    """
    query = select(quarantine).order_by(quarantine.c.id.desc()).limit(limit)
    with translate_errors(engine), engine.connect() as connection:
        rows = connection.execute(query).mappings()
        return [Quarantined.of(row) for row in rows]


def get_quarantined(engine: Engine, id: int) -> Quarantined:
    """Return a message in quarantine.

    Raises:
        DatabaseUnavailable: It cannot be reached.
        NotInQuarantine: There is none of this number.
    """
    query = select(quarantine).where(quarantine.c.id == id)
    with translate_errors(engine), engine.connect() as connection:
        row = connection.execute(query).mappings().first()
    if row is None:
        raise NotInQuarantine(id)
    return Quarantined.of(row)


def drop(engine: Engine, id: int) -> None:
    """Delete a message from the quarantine.

    Raises:
        DatabaseUnavailable: It cannot be reached.
        NotInQuarantine: There is none of this number.
    """
    with translate_errors(engine), engine.begin() as connection:
        gone = connection.execute(delete(quarantine).where(quarantine.c.id == id))
    if not gone.rowcount:
        raise NotInQuarantine(id)


def replay(engine: Engine, id: int, *, redaction: Redaction, max_bytes: int) -> str:
    """Read a message again, and store the task if this release can.

    It is not published again: the task itself was not in quarantine.

    Args:
        redaction: What is hidden of its arguments.
        max_bytes: Most bytes that are kept of them, of each of both kinds.

    Returns:
        Id of the task.

    Raises:
        DatabaseUnavailable: It cannot be reached.
        NotInQuarantine: There is none of this number.
        Unreadable: It stays where it is; says why.
    """
    kept = get_quarantined(engine, id)
    record = read_task(
        _message(kept),
        seen_at=datetime.now(UTC),
        redaction=redaction,
        max_bytes=max_bytes,
    )
    with translate_errors(engine):
        try:
            with engine.begin() as connection:
                write_batch(connection, [record])
                connection.execute(delete(quarantine).where(quarantine.c.id == id))
        except DBAPIError as error:
            if is_outage(error):
                raise
            raise Unreadable(f"the database refuses it: {error.orig}") from error
    return record.id


def _message(kept: Quarantined) -> Message:
    body: Any = kept.body
    return left_compressed(Message)(
        body=body,
        content_type=kept.content_type,
        content_encoding=kept.content_encoding,
        headers=kept.headers,
        delivery_info={"routing_key": kept.routing_key},
    )

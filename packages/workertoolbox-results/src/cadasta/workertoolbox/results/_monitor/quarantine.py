"""The quarantine: messages that a monitor could not read."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any, Self

from kombu.message import Message
from sqlalchemy import Engine, RowMapping, delete, select
from sqlalchemy.exc import DBAPIError

from cadasta.workertoolbox.results._arguments.redaction import Redaction
from cadasta.workertoolbox.results._database.engine import translate_errors
from cadasta.workertoolbox.results._database.outages import is_outage, one_line
from cadasta.workertoolbox.results._database.tables import quarantine
from cadasta.workertoolbox.results._errors import NotInQuarantine
from cadasta.workertoolbox.results._monitor.decompression import keep_compressed
from cadasta.workertoolbox.results._monitor.message import read_task
from cadasta.workertoolbox.results._monitor.records import QuarantineRecord
from cadasta.workertoolbox.results._monitor.unreadable import UnreadableMessage
from cadasta.workertoolbox.results._monitor.upserts import write_batch


@dataclass(frozen=True, slots=True, kw_only=True)
class QuarantinedMessage(QuarantineRecord):
    """A row of `workertoolbox_quarantine`.

    Attributes:
        id: Number of the row.
    """

    id: int

    @classmethod
    def of(cls, row: RowMapping) -> Self:
        """Return the message that a row holds."""
        # Some drivers return binary data as a type of their own.
        return cls(**{**row, "body": bytes(row["body"])})

    def as_json(self) -> dict[str, Any]:
        """Return the values for `--json`; bytes that are not UTF-8 are escaped."""
        text = self.body.decode("utf-8", "backslashreplace")
        seen_at = self.seen_at.isoformat()
        return {"id": self.id, **asdict(self), "body": text, "seen_at": seen_at}


def get_quarantined(engine: Engine, id: int) -> QuarantinedMessage:
    """Return a message in quarantine.

    Raises:
        DatabaseUnavailable: The database cannot be reached, or refuses the query.
        NotInQuarantine: No message has this number.
    """
    query = select(quarantine).where(quarantine.c.id == id)
    with translate_errors(engine), engine.connect() as connection:
        row = connection.execute(query).mappings().first()
    if row is None:
        raise NotInQuarantine(id)
    return QuarantinedMessage.of(row)


def drop(engine: Engine, id: int) -> None:
    """Delete a message from the quarantine.

    Raises:
        DatabaseUnavailable: The database cannot be reached, or refuses the statement.
        NotInQuarantine: No message has this number.
    """
    with translate_errors(engine), engine.begin() as connection:
        deleted = connection.execute(delete(quarantine).where(quarantine.c.id == id))
    if not deleted.rowcount:
        raise NotInQuarantine(id)


def replay(engine: Engine, id: int, *, redaction: Redaction, max_bytes: int) -> str:
    """Read a message again; if this release can read it, store its task.

    The message is not published again: it is only a copy of the message that workers
    received.

    Args:
        redaction: Rules for hiding arguments.
        max_bytes: Maximum size in bytes, as JSON, of `args` and of `kwargs`.

    Returns:
        Id of the task.

    Raises:
        DatabaseUnavailable: The database cannot be reached.
        NotInQuarantine: No message has this number.
        UnreadableMessage: The message still cannot be read or stored, and stays in
            quarantine.
    """
    quarantined = get_quarantined(engine, id)
    record = read_task(
        _as_message(quarantined),
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
            raise UnreadableMessage(
                f"the database refuses the message: {one_line(error)}"
            ) from error
    return record.id


def _as_message(quarantined: QuarantinedMessage) -> Message:
    body: Any = quarantined.body
    return keep_compressed(Message)(
        body=body,
        content_type=quarantined.content_type,
        content_encoding=quarantined.content_encoding,
        headers=quarantined.headers,
        delivery_info={"routing_key": quarantined.routing_key},
    )

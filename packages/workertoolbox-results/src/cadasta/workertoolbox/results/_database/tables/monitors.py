"""The tables of monitors, and of messages that they cannot read."""

from __future__ import annotations

from sqlalchemy import Column, LargeBinary, Table, Text

from cadasta.workertoolbox.results._database.tables.table_parts import (
    RowNumber,
    metadata,
)
from cadasta.workertoolbox.results._database.types import Document, Instant

#: A row per message that could not be read, unchanged.
quarantine = Table(
    "workertoolbox_quarantine",
    metadata,
    Column("id", RowNumber, primary_key=True),
    # SHA-256 of the message, so that a message is stored once if it is delivered twice.
    Column("digest", Text, nullable=False, unique=True),
    Column("reason", Text, nullable=False),
    Column("body", LargeBinary, nullable=False),
    Column("content_type", Text),
    Column("content_encoding", Text),
    Column("headers", Document, nullable=False),
    Column("routing_key", Text),
    Column("seen_at", Instant, nullable=False),
)

#: A row per monitor that runs or has run in the last day: how far it has read its
#: queue. See `_history/horizon.py`.
monitor = Table(
    "workertoolbox_monitor",
    metadata,
    Column("id", Text, primary_key=True),
    # All messages that were published before are stored. NULL until that is known.
    Column("read_until", Instant),
    Column("reported_at", Instant, nullable=False),
)

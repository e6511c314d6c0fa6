"""The instants up to which the tables of queued and untracked tasks are complete."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import NamedTuple

from sqlalchemy import Connection, select

from cadasta.workertoolbox.results._database.tables import watermark


class Watermark(NamedTuple):
    """The instants up to which the copies are complete.

    Attributes:
        seen_at: `workertoolbox_queued` is complete for messages seen until then.
        stored_at: `workertoolbox_untracked` is complete for results stored until then.
    """

    seen_at: datetime
    stored_at: datetime


def read_watermark(connection: Connection) -> Watermark:
    """Return the instants up to which the copies are complete.

    Queries contain them as values, not as a join, so that PostgreSQL can estimate how
    few rows are above them.
    """
    seen_at, stored_at = connection.execute(
        select(watermark.c.seen_at, watermark.c.date_done)
    ).one()
    return Watermark(seen_at, stored_at.replace(tzinfo=UTC))

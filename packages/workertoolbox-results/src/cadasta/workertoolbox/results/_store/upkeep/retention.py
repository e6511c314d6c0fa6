"""How long the history keeps tasks, as an archiver has stored, and what it has."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from sqlalchemy import Connection, select

from cadasta.workertoolbox.results._database.tables import retention
from cadasta.workertoolbox.results._history.days import DaySize
from cadasta.workertoolbox.results._history.retention import DEFAULT
from cadasta.workertoolbox.results._json_record import JsonRecord

#: Days by which a class may have outlived its age: its last tasks stay until a day is
#: over, and an archiver looks once an hour.
_GRACE_DAYS = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class RetentionClass(JsonRecord):
    """A class of the setting `RETENTION`: how long its tasks stay, and what is there.

    Attributes:
        keep: The name of the class: `default`, a status, or the name of a task.
        days: For how many days its tasks stay after their end; None without a limit,
            and if no archiver has stored it. A class that `RETENTION` does not name any
            more stays as long as `default`.
        applied_at: When an archiver last stored `days`, which it does every five
            minutes; None if none has.
        stored_days: Number of days that the history has of the class; None on SQLite,
            which does not keep days apart.
        oldest_day: The oldest of them, in UTC; None without any, and on SQLite.
        bytes: Their size with indexes; None on SQLite.
    """

    keep: str
    days: int | None
    applied_at: datetime | None
    stored_days: int | None
    oldest_day: date | None
    bytes: int | None

    def is_overdue(self, today: date) -> bool:
        """Return whether the history has days that should have been deleted.

        Args:
            today: The date in UTC.
        """
        if self.days is None or self.oldest_day is None:
            return False
        return (today - self.oldest_day).days > self.days + _GRACE_DAYS


def read_retention(
    connection: Connection, days: Iterable[DaySize]
) -> Sequence[RetentionClass]:
    """Return the classes, `default` first.

    Args:
        days: The days of the history; not used on SQLite.
    """
    rows = connection.execute(select(retention)).all()
    applied = {row.keep: row for row in rows}
    stored: dict[str, list[DaySize]] = {}
    for each in days:
        stored.setdefault(each.keep, []).append(each)
    has_days = connection.dialect.name != "sqlite"
    found = []
    for keep in sorted({*applied, *stored}, key=lambda each: (each != DEFAULT, each)):
        row: Any = applied.get(keep, applied.get(DEFAULT))
        own = stored.get(keep, ())
        found.append(
            RetentionClass(
                keep=keep,
                days=row and row.days,
                applied_at=row and row.applied_at,
                stored_days=len(own) if has_days else None,
                oldest_day=min((each.day for each in own), default=None),
                bytes=sum(each.bytes for each in own) if has_days else None,
            )
        )
    return found

"""The errors of a group by the names of their tasks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Self

from cadasta.workertoolbox.results._json_record import JsonRecord
from cadasta.workertoolbox.results._store.errors.groups import ErrorGroup
from cadasta.workertoolbox.results._store.figures.stats import StatsRow, StatsTable

#: How far back the errors are counted by name, in days.
COUNTED_DAYS = 30


@dataclass(frozen=True, slots=True, kw_only=True)
class CountedErrorGroup(JsonRecord):
    """A group of errors, and the number of its errors by the names of their tasks.

    Attributes:
        group: The group.
        names: Number of errors of the last 30 days, by the name of the task.
    """

    json_merged: ClassVar = frozenset({"group"})

    group: ErrorGroup
    names: Mapping[str | None, int]

    @classmethod
    def of(cls, group: ErrorGroup, table: StatsTable) -> Self:
        """Return a group with the numbers in its statistics by name."""
        names = {row.value: errors_in(row) for row in table.rows}
        return cls(group=group, names=names)


def errors_in(row: StatsRow) -> int:
    """Return the number of failures, and of attempts that were retried."""
    return row.now.count + row.now.failed_attempts

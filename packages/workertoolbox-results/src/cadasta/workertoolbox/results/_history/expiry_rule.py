"""A rule by which rows of a table expire."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import Column, ColumnElement, Select, true

#: The kinds of rows that are counted, as the command prints them.
TASKS = "tasks"
GROUPS = "groups"
CHORDS = "chords"
QUARANTINED = "messages in quarantine"
OPERATIONS = "operations"

#: The condition that all rows meet.
EVERYWHERE = true()


@dataclass(frozen=True, kw_only=True)
class ExpiryRule:
    """A rule: which rows of one table expire, and which rows are deleted with them.

    Attributes:
        kind: Kind of the rows, for counts; None if they are not counted.
        order: Columns by which the rows are sorted. The first has an index, and the
            last is the id.
        expired: A condition for old rows, on columns of their table.
        deletable: A query for the ids of those expired rows that may be deleted.
        columns: The columns that contain the id, in the order in which their tables are
            deleted from.
        unlocked: Columns that contain the id, in tables from which the rows are deleted
            first, except those that another transaction has locked.
        scope: A condition on all rows of the rule, which limits the search by id.
    """

    kind: str | None
    order: tuple[Column[Any], ...]
    expired: ColumnElement[bool]
    deletable: Select[tuple[Any]]
    columns: tuple[Column[Any], ...]
    unlocked: tuple[Column[Any], ...] = ()
    scope: ColumnElement[bool] = EVERYWHERE

    @property
    def id(self) -> Column[Any]:
        """The column of the id."""
        return self.order[-1]

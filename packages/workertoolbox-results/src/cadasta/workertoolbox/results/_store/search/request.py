"""What is searched, and in which order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property

from celery.states import SUCCESS

from cadasta.workertoolbox.results._arguments.jsonable import jsonable_text
from cadasta.workertoolbox.results._database.statuses import BEFORE_RESULT
from cadasta.workertoolbox.results._query.nodes import Node, leaves
from cadasta.workertoolbox.results._store.rows.dated_ids import DatedId
from cadasta.workertoolbox.results._store.rows.task_rows import Detail
from cadasta.workertoolbox.results._store.search.query_conditions import (
    exact_values,
    requires,
)


@dataclass(frozen=True, kw_only=True)
class Search:
    """A search for tasks.

    Attributes:
        query: The query.
        since: Only tasks from this instant on, by the time that they are sorted by.
        until: Only tasks before this instant.
        internal: Whether to include Celery's own tasks, `celery.*`.
        limit: Maximum number of tasks.
        after: The last task before the ones that are wanted.
        is_after_planned: Whether that is a planned step. These are last.
        detail: How much is read of the tasks.
    """

    query: Node
    since: datetime | None = None
    until: datetime | None = None
    internal: bool = False
    limit: int = 50
    after: DatedId | None = None
    is_after_planned: bool = False
    detail: Detail = Detail.WHOLE

    @cached_property
    def statuses(self) -> frozenset[str] | None:
        """The statuses that tasks can have, or None for all."""
        return exact_values(self.query, "status")

    @cached_property
    def by_latest_state(self) -> bool:
        """Whether tasks are sorted by their latest state, as `list` sorts them."""
        usual = {*BEFORE_RESULT, SUCCESS}
        is_unusual = self.statuses is not None and not self.statuses & usual
        return is_unusual or requires(self.query, ("worker", "error", "error_group"))

    @cached_property
    def shows_internal(self) -> bool:
        """Whether Celery's own tasks are shown: also if the query names tasks."""
        named = {leaf.field for leaf in leaves(self.query)} & {"id", "name"}
        return self.internal or bool(named)

    def exact(self, field: str) -> Sequence[str] | None:
        """Return the values of a field that tasks can have, or None for all.

        They are in the form in which they are stored.
        """
        values = exact_values(self.query, field)
        return None if values is None else sorted(map(jsonable_text, values))

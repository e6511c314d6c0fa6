"""The methods of `TaskStore` that change the states of groups of errors."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from sqlalchemy import case, select, text, update

from cadasta.workertoolbox.results._database.tables import (
    CHANGES_ERRORS,
    error_group,
    operation,
)
from cadasta.workertoolbox.results._database.time_limits import begin_limited
from cadasta.workertoolbox.results._errors import ErrorGroupNotFound
from cadasta.workertoolbox.results._history.error_groups import (
    IGNORED,
    OPEN,
    RESOLVED,
)
from cadasta.workertoolbox.results._store.open_database import OpenDatabase
from cadasta.workertoolbox.results._store.operations.journal import Operation
from cadasta.workertoolbox.results._store.operations.rows import (
    add_operation,
    new_key,
)
from cadasta.workertoolbox.results._store.rows.ids import stored_id

#: The kinds of operations that set the stored states.
KINDS = {RESOLVED: "resolve", IGNORED: "ignore", OPEN: "reopen"}

#: What such an operation has done, in a word.
DONE = {"resolve": "resolved", "ignore": "ignored", "reopen": "reopened"}


class ErrorChanges(OpenDatabase):
    """The methods of `TaskStore` that change the states of groups of errors."""

    def error_group_changes(self, id: str, *, limit: int = 20) -> Sequence[Operation]:
        """Return who resolved, ignored or reopened a group, newest first.

        Example:
            Why a group is ignored::

                [latest, *_] = store.error_group_changes(id)
                print(latest.kind, latest.made_by, latest.reason)

        Raises:
            DatabaseUnavailable: The database cannot be reached or refuses the query.
        """
        columns = operation.c
        query = (
            select(operation)
            # As text, so that both databases find the partial index.
            .where(columns.selection == stored_id(id), text(CHANGES_ERRORS))
            .order_by(columns.started_at.desc(), columns.id)
            .limit(limit)
        )
        with self._snapshot() as connection:
            return [Operation(**row) for row in connection.execute(query).mappings()]

    def resolve_error_group(
        self, id: str, *, made_by: str | None = None, reason: str | None = None
    ) -> None:
        """Mark a group as resolved. Its next error changes the state to `back`.

        The role needs the privileges of a purger. Who did it and why is in the journal
        of operations.

        Args:
            id: The key of the group.
            made_by: Who resolves it; by default, the user and the host of the process.
            reason: Why.

        Raises:
            DatabaseUnavailable: The database cannot be reached or refuses the change.
            ErrorGroupNotFound: There is no group with this key.
            QueryTimeout: It is locked for longer than `timeout_s`.
        """
        self._change(id, RESOLVED, made_by, reason)

    def ignore_error_group(
        self, id: str, *, made_by: str | None = None, reason: str | None = None
    ) -> None:
        """Mark a group as ignored; the rest is as for `resolve_error_group`."""
        self._change(id, IGNORED, made_by, reason)

    def reopen_error_group(
        self, id: str, *, made_by: str | None = None, reason: str | None = None
    ) -> None:
        """Undo `resolve_error_group` or `ignore_error_group`; the rest is as there."""
        self._change(id, OPEN, made_by, reason)

    def _change(
        self, id: str, state: str, made_by: str | None, reason: str | None
    ) -> None:
        now = datetime.now(UTC)
        group = error_group.c
        # The clock of a worker may be ahead.
        at = case((group.last_at > now, group.last_at), else_=now)
        change = (
            update(error_group)
            .where(group.id == stored_id(id))
            .values(state=state, resolved_at=at if state == RESOLVED else None)
        )
        with begin_limited(self.engine, self.timeout_s) as connection:
            if not connection.execute(change).rowcount:
                raise ErrorGroupNotFound(id)
            add_operation(
                connection,
                id=new_key(),
                kind=KINDS[state],
                made_by=made_by,
                reason=reason,
                selection=id,
                started_at=now,
                finished_at=now,
            )

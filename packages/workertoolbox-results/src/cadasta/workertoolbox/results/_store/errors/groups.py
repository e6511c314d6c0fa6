"""The methods of `TaskStore` for groups of errors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import UTC, datetime, timedelta
from typing import Any

from celery import states
from sqlalchemy import (
    ColumnElement,
    Connection,
    Select,
    case,
    func,
    literal_column,
    select,
    text,
)

from cadasta.workertoolbox.results._arguments.jsonable import jsonable
from cadasta.workertoolbox.results._database.tables import (
    IS_UNARCHIVED,
    error_group,
    rollup,
    taskmeta,
)
from cadasta.workertoolbox.results._errors import ErrorGroupNotFound, UnknownErrorState
from cadasta.workertoolbox.results._history.error_groups import IGNORED, RESOLVED
from cadasta.workertoolbox.results._json_record import JsonRecord
from cadasta.workertoolbox.results._store.errors.recent import read_recent
from cadasta.workertoolbox.results._store.open_database import LATER, OpenDatabase
from cadasta.workertoolbox.results._store.rows.ids import stored_id

#: How long after its first error a group is new: a daily look finds it.
NEW_FOR = timedelta(days=1)

#: How long after its last error a group is quiet. The errors of a weekly task stay
#: ongoing if one run is left out.
QUIET_AFTER = timedelta(days=15)

#: The states that are shown; see `ErrorGroup`.
STATES = ("new", "ongoing", "quiet", "back", "resolved", "ignored")


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorGroup(JsonRecord):
    """Errors with the same fingerprint: of failures, and of attempts that were retried.

    Type, place and sample are those of the latest error.

    Attributes:
        id: The key: the version of the fingerprint, and 16 hexadecimal digits.
        state: `ignored` or `resolved` if a user has set it; `back` if an error has
            occurred since it was resolved. Otherwise `new` if the first error is less
            than a day old, `quiet` if the last one is more than 15 days old, and
            `ongoing`.
        type: The class of the exception, such as `requests.exceptions.Timeout`.
        place: The function of the service that raised it, such as `export.tasks.fetch`;
            None if it was raised in a library, or if the task was killed.
        name: The name of the task of the first error.
        sample: Type and message, with secrets masked and cut off after 1,000
            characters; None if the task was erased.
        first_task_id: The task of the first error; None if it was erased.
        last_task_id: The task of the last error; None if it was erased.
        first_at: When the first error occurred.
        last_at: When the last error occurred.
        count: Number of errors.
        retries: How many of them were followed by a retry.
        resolved_at: When the group was resolved.
        recent: Number of errors in each of the last 24 hours (UTC), the oldest first;
            the last hour has just begun.
        recent_runs: Number of runs in these hours of the tasks whose names the errors
            in these hours have.
    """

    id: str
    state: str
    type: str | None
    place: str | None
    name: str | None
    sample: str | None
    first_task_id: str | None
    last_task_id: str | None
    first_at: datetime
    last_at: datetime
    count: int
    retries: int
    resolved_at: datetime | None
    recent: Sequence[int] = ()
    recent_runs: int = 0

    @property
    def recent_share(self) -> float | None:
        """The share of `recent_runs` that ended with these errors, from 0 to 1.

        It is None if there were no errors in these hours.
        """
        return sum(self.recent) / self.recent_runs if self.recent_runs else None


class ErrorGroups(OpenDatabase):
    """The methods of `TaskStore` for groups of errors."""

    def error_groups(
        self,
        *,
        state: str | None = None,
        since: datetime | None = None,
        name: str | None = None,
        limit: int = 50,
    ) -> Sequence[ErrorGroup]:
        """Return groups of errors, the one with the latest error first.

        The errors of a task are added when it is archived, about a minute after its
        end.

        Example:
            Errors that first occurred in the last 24 hours::

                for group in store.error_groups(state="new"):
                    print(group.count, group.sample, group.first_at, group.recent)

        Args:
            state: Only groups in this state, as in `ErrorGroup`.
            since: Only groups with an error since then.
            name: Only groups with an error of a task of this name.
            limit: Maximum number of groups to return.

        Raises:
            DatabaseUnavailable: The database cannot be reached or refuses the query.
            UnknownErrorState: Groups do not have this state.
        """
        if state not in (None, *STATES):
            raise UnknownErrorState(str(state), STATES)
        now = datetime.now(UTC)
        query = (
            _select_groups(now)
            .where(error_group.c["count"] > 0)
            .order_by(error_group.c.last_at.desc(), error_group.c.id)
            .limit(limit)
        )
        if state is not None:
            query = query.where(_shown_state(now) == state)
        if since is not None:
            query = query.where(error_group.c.last_at >= since)
        if name is not None:
            query = query.where(error_group.c.id.in_(_select_groups_of(jsonable(name))))
        with self._snapshot(f"{LATER}, or add a name") as connection:
            return _read_groups(connection, query, now)

    def count_error_groups(self) -> Mapping[str, int]:
        """Return the number of groups of errors in each state, as in `ErrorGroup`.

        Raises:
            DatabaseUnavailable: The database cannot be reached or refuses the query.
        """
        with self._snapshot() as connection:
            return count_states(connection, datetime.now(UTC))

    def has_unlisted_failures(self, *, name: str | None = None) -> bool:
        """Return whether a task has failed that is not in the history yet.

        Its error is counted in its group when the task is moved there, about a minute
        after its end.

        Args:
            name: Only failures of tasks of this name.

        Raises:
            DatabaseUnavailable: The database cannot be reached or refuses the query.
        """
        result = taskmeta.c
        query = select(result.task_id).where(
            text(IS_UNARCHIVED), result.status == states.FAILURE
        )
        if name is not None:
            query = query.where(result.name == jsonable(name))
        with self._snapshot() as connection:
            return connection.execute(query.limit(1)).first() is not None

    def error_group(self, id: str) -> ErrorGroup:
        """Return a group of errors by its key.

        Raises:
            DatabaseUnavailable: The database cannot be reached or refuses the query.
            ErrorGroupNotFound: There is no group with this key.
        """
        now = datetime.now(UTC)
        query = _select_groups(now).where(error_group.c.id == stored_id(id))
        with self._snapshot() as connection:
            for found in _read_groups(connection, query, now):
                return found
        raise ErrorGroupNotFound(id)


def _select_groups(now: datetime) -> Select[Any]:
    computed = ("state", "recent", "recent_runs")
    others = (each.name for each in fields(ErrorGroup) if each.name not in computed)
    return select(
        _shown_state(now).label("state"), *(error_group.c[name] for name in others)
    )


def _select_groups_of(name: str) -> Select[Any]:
    """Return a query for the keys of the groups with errors of a name of tasks."""
    is_of_name = (rollup.c.name == name) & (rollup.c.error_group != "")
    return select(rollup.c.error_group).where(is_of_name, rollup.c.tier == "day")


def _read_groups(
    connection: Connection, query: Select[Any], now: datetime
) -> Sequence[ErrorGroup]:
    rows = connection.execute(query).mappings().all()
    recent = read_recent(connection, [row["id"] for row in rows], now)
    return [ErrorGroup(**row, **recent[row["id"]]._asdict()) for row in rows]


def count_states(connection: Connection, now: datetime) -> Mapping[str, int]:
    """Count the groups in each state, as in `ErrorGroup`."""
    state = _shown_state(now).label("state")
    query = select(state, func.count()).where(error_group.c["count"] > 0)
    found = {row[0]: row[1] for row in connection.execute(query.group_by(state))}
    return dict.fromkeys(STATES, 0) | found


def _shown_state(now: datetime) -> ColumnElement[str]:
    group = error_group.c
    is_resolved = group.state == RESOLVED
    conditions: Sequence[tuple[ColumnElement[bool], str]] = (
        (group.state == IGNORED, "ignored"),
        (is_resolved & (group.last_at > group.resolved_at), "back"),
        (is_resolved, "resolved"),
        (group.last_at < now - QUIET_AFTER, "quiet"),
        (group.first_at > now - NEW_FOR, "new"),
    )
    return case(
        *((is_true, literal_column(f"'{state}'")) for is_true, state in conditions),
        else_=literal_column("'ongoing'"),
    )

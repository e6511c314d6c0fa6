"""The methods of `TaskStore` that search for tasks."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta

from celery.states import PENDING
from sqlalchemy import Connection

from cadasta.workertoolbox.results._database.statuses import STATUSES, USUAL_STATES
from cadasta.workertoolbox.results._query.nodes import (
    Bound,
    Match,
    Node,
    Value,
    all_of,
    leaves,
)
from cadasta.workertoolbox.results._query.parser import parse_query
from cadasta.workertoolbox.results._query_errors import InvalidQuery
from cadasta.workertoolbox.results._store.open_database import OpenDatabase
from cadasta.workertoolbox.results._store.rows.ids import stored_id
from cadasta.workertoolbox.results._store.rows.reading import read_found, read_tasks
from cadasta.workertoolbox.results._store.rows.task_rows import Detail
from cadasta.workertoolbox.results._store.rows.windows import check_window
from cadasta.workertoolbox.results._store.search.changes import (
    OVERLAP,
    Change,
    find_changes,
)
from cadasta.workertoolbox.results._store.search.known_values import meant_status
from cadasta.workertoolbox.results._store.search.live_results import open_states
from cadasta.workertoolbox.results._store.search.page_tokens import (
    Page,
    Position,
    read_token,
    write_token,
)
from cadasta.workertoolbox.results._store.search.query_conditions import requires
from cadasta.workertoolbox.results._store.search.query_search import (
    find_matching,
    find_matching_steps,
)
from cadasta.workertoolbox.results._store.search.request import Search
from cadasta.workertoolbox.results._task import Task

#: Fields with an index.
_INDEXED = ("id", "name", "queue", "worker", "error_group", "root", "parent", "group")

#: Fields without an index, except for exact values in JSON.
_UNINDEXED = ("args", "header", "stamp", "error")

#: How far back `follow` reads first, to know what is not new.
_FIRST_LOOK = timedelta(minutes=1)


class Searches(OpenDatabase):
    """The methods of `TaskStore` that search for tasks."""

    def search(
        self,
        query: str = "",
        *,
        since: datetime | None = None,
        until: datetime | None = None,
        limit: int = 50,
        page: str | None = None,
        internal: bool = False,
        brief: bool = False,
        limited: bool = False,
    ) -> Page:
        """Return a page of the tasks that match a query, newest first.

        The order is that of `list`: by the first message, or by the latest state if no
        monitor has seen a message, or if the query demands a worker, an error, or a
        status that workers store other than `SUCCESS`. Planned steps are last.

        Each task is on one page, also if it is archived between two pages. Tasks that
        are published later are not on later pages. A task that is sorted by its latest
        state moves to the front with each new one, and is not on later pages then.

        Example:
            All failures of the last day that have an order as argument::

                query = "status:failure args.order_id:4711"
                since = datetime.now(UTC) - timedelta(days=1)
                page = store.search(query, since=since)
                while page.next:
                    page = store.search(query, page=page.next)

        Args:
            query: In the language of `docs/reference/searching.md`; an empty text
                means all tasks.
            since: Only tasks from this instant on, with a time zone. It is compared
                with the time that the tasks are sorted by.
            until: Only tasks before this instant.
            limit: Maximum number of tasks on the page.
            page: `next` of the page before. The token contains `since` and `until` of
                the first page, and those given here are ignored.
            internal: Whether to include Celery's own tasks, `celery.*`. If the query
                has a name or an id, they are always included.
            brief: Whether to leave out arguments, results and tracebacks, which may be
                large; they are None then.
            limited: Whether to read only the beginning of results of more than 64 KiB;
                `result_bytes` is their size then.

        Raises:
            DatabaseUnavailable: The database cannot be reached or refuses the query.
            InvalidPage: The token is malformed, or belongs to another query.
            InvalidQuery: The query cannot be understood, or no task can have a status
                in it.
            InvalidWindow: `since` is not before `until`.
            QueryTimeout: The database needs longer than `timeout_s`.
        """
        node = parse_query(query)
        if page is not None:
            position = read_token(page, node, internal=internal)
            since, until = position.since, position.until
        elif since is not None and until is not None:
            check_window(since, until)
        search = Search(
            query=node,
            since=since,
            until=until,
            internal=internal,
            limit=limit + 1,
            after=position.last if page else None,
            is_after_planned=bool(page) and position.is_planned,
            detail=Detail.of(brief=brief, limited=limited),
        )
        with self._snapshot(narrow=advise(search)) as connection:
            _check_statuses(connection, query, node)
            return _read_page(connection, search)

    def find_all(self, ids: Sequence[str], *, limited: bool = False) -> Sequence[Task]:
        """Return the tasks with these ids, in their order; unknown ids are left out.

        Args:
            ids: Ids of tasks.
            limited: As for `search`.

        Raises:
            DatabaseUnavailable: The database cannot be reached or refuses the query.
        """
        wanted, detail = [stored_id(id) for id in ids], Detail.of(limited=limited)
        with self._snapshot() as connection:
            return read_tasks(connection, wanted, detail=detail)

    def follow(
        self,
        query: str = "",
        *,
        internal: bool = False,
        brief: bool = False,
        every_s: float = 1.0,
    ) -> Iterator[Sequence[Task]]:
        """Yield tasks that are new, and tasks that have ended, without an end.

        A task is yielded when a monitor has stored its message, and again after its
        end; once if both happen between two queries. Each query reads at most 5,000
        messages and as many ends.

        Example:
            Print failures as they happen::

                for tasks in store.follow("status:failure"):
                    for task in tasks:
                        print(task.id, task.name, task.result)

        Args:
            query: As for `search`.
            internal: As for `search`.
            brief: As for `search`.
            every_s: Seconds between two queries of the database.

        Raises:
            DatabaseUnavailable: The database cannot be reached or refuses the query.
            InvalidQuery: The query cannot be understood, or no task can have a status
                in it.
            QueryTimeout: The database needs longer than `timeout_s`.
        """
        node = parse_query(query)
        with self._snapshot() as connection:
            _check_statuses(connection, query, node)
            known = {*find_changes(connection, datetime.now(UTC) - _FIRST_LOOK)}
        while True:
            began = time.monotonic()
            since = max((each.at for each in known), default=datetime.now(UTC))
            since = min(since, datetime.now(UTC)) - OVERLAP
            with self._snapshot() as connection:
                changes = find_changes(connection, since)
                fresh = [each for each in changes if each not in known]
                tasks = _read_changed(
                    connection, node, fresh, internal=internal, brief=brief
                )
            known = {*changes} | {each for each in known if each.at >= since}
            yield tasks
            time.sleep(max(0.0, every_s - (time.monotonic() - began)))


def _read_changed(
    connection: Connection,
    node: Node,
    changes: Iterable[Change],
    *,
    internal: bool,
    brief: bool,
) -> Sequence[Task]:
    """Return the tasks of changes that match a query, the last change last."""
    order = {each.id: number for number, each in enumerate(reversed([*changes]))}
    if not order:
        return []
    # A task may have several changes, and is sorted by its last one.
    ids = tuple(Value(id, quoted=True) for id in order)
    query = all_of(node, Match("id", ids))
    detail = Detail.of(brief=brief)
    search = Search(query=query, limit=len(order), detail=detail)
    tasks = read_found(connection, find_matching(connection, search), detail)
    is_shown = Search(query=node, internal=internal).shows_internal
    shown = [task for task in tasks if is_shown or not task.internal]
    return sorted(shown, key=lambda task: order[task.id])


def _read_page(connection: Connection, search: Search) -> Page:
    limit = search.limit - 1
    found = find_matching(connection, search)
    steps = find_matching_steps(connection, search, search.limit - len(found))
    shown = [*found, *steps][:limit]
    tasks = read_found(connection, shown, search.detail)
    if len(found) + len(steps) <= limit or not shown:
        return Page(tasks, None, search.since, search.until)
    is_planned = search.is_after_planned or len(found) < limit
    position = Position(shown[-1], is_planned, search.since, search.until)
    token = write_token(position, search.query, internal=search.internal)
    return Page(tasks, token, search.since, search.until)


def _check_statuses(connection: Connection, text: str, node: Node) -> None:
    """Refuse a status that no task can have, and suggest the nearest one.

    Raises:
        InvalidQuery: The query has such a status.
    """
    for leaf, status in _statuses(node):
        is_usual = status in STATUSES or status in USUAL_STATES
        if is_usual and status != PENDING or status in open_states(connection):
            continue
        hint = _status_hint(status)
        raise InvalidQuery(
            text, leaf.column, f"no task has the status {status}; {hint}"
        )


def _status_hint(status: str) -> str:
    near = meant_status(status)
    if near is None:
        return f"statuses are {', '.join(each.lower() for each in STATUSES)}"
    if near == status.upper():
        # Only a quoted status has the case that it was written in.
        return f"write {near.lower()} without quotes"
    return f"did you mean {near.lower()}?"


def _statuses(node: Node) -> Iterator[tuple[Match, str]]:
    for leaf in leaves(node):
        if isinstance(leaf, Match) and leaf.field == "status":
            for value in leaf.values:
                yield leaf, value.literal or value.text


def _is_slow(leaf: Match | Bound) -> bool:
    """Return whether no index supports a part of a query on texts or JSON."""
    if isinstance(leaf, Bound) or leaf.field not in _UNINDEXED:
        return False
    return leaf.field == "error" or any(each.literal is None for each in leaf.values)


def advise(search: Search) -> str:
    """Return how to make a search faster."""
    slow = sorted({leaf.field for leaf in leaves(search.query) if _is_slow(leaf)})
    advice = []
    if search.since is None:
        advice.append("give since (--since), such as 2h")
    if not requires(search.query, _INDEXED):
        verb = "has" if len(slow) == 1 else "have"
        reason = f", because {' and '.join(slow)} {verb} no index" if slow else ""
        advice.append(f"add name:… or queue:…{reason}")
    return "; or ".join(advice)

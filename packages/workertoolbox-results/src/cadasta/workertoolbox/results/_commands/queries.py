"""The options with which commands select tasks, and the query that they form."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

import click
from celery import Celery

from cadasta.workertoolbox.results._commands.completion import complete
from cadasta.workertoolbox.results._commands.options import (
    Decorated,
    internal_option,
    window_options,
)
from cadasta.workertoolbox.results._commands.output import check_filters
from cadasta.workertoolbox.results._query.nodes import Match, Node, Value, all_of
from cadasta.workertoolbox.results._query.parser import parse_query
from cadasta.workertoolbox.results._query_errors import InvalidQuery
from cadasta.workertoolbox.results._store.search.page_tokens import Page
from cadasta.workertoolbox.results._store.store import TaskStore

#: The options that filter tasks by one value.
FILTERS = ("name", "status", "queue", "worker")

#: Maximum number of tasks in memory where a command shows all of them.
PAGE_SIZE = 500


query_option = click.option(
    "--query",
    default="",
    help="Only tasks that match, as in 'name:export.* status:failure "
    "args.order_id:4711'; see docs/reference/searching.md.",
)


def selection_options(function: Decorated) -> Decorated:
    """Add the options that select tasks: filters, a query and a window."""
    options = (
        click.option(
            "--name", help="Only tasks of this name.", shell_complete=complete("name")
        ),
        click.option("--status", help="Only tasks of this status, such as FAILURE."),
        click.option(
            "--queue",
            help="Only tasks of this queue.",
            shell_complete=complete("queue"),
        ),
        click.option(
            "--worker", help="Only tasks that this worker ran, such as celery@host."
        ),
        query_option,
        window_options("published, or ended if they are sorted by their end,"),
        internal_option,
    )
    for option in reversed(options):
        function = option(function)
    return function


class Selection:
    """The tasks that the options of a command select.

    Args:
        options: The values of `selection_options`.
    """

    def __init__(self, app: Celery, options: Mapping[str, Any]) -> None:
        self.app = app
        self.filters = {name: options[name] for name in FILTERS}
        self.query: str = options["query"]
        self.since: datetime | None = options["since"]
        self.until: datetime | None = options["until"]
        self.internal: bool = options["internal"]
        self.text = _combined(self.query, self.filters)

    def search(
        self, store: TaskStore, *, limit: int, page: str | None, brief: bool
    ) -> Page:
        """Return a page of the tasks.

        Raises:
            InvalidQuery: No task can have a status in the query.
            UnknownStatus: No task can have the status of `--status`.
            UnknownValue: No task has the name, the queue or the worker of an option.
        """
        if self.filters["status"] is not None:
            store.check_filters(status=self.filters["status"])
        try:
            found = store.search(
                self.text,
                since=self.since,
                until=self.until,
                limit=limit,
                page=page,
                internal=self.internal,
                brief=brief,
            )
        except InvalidQuery as error:
            raise _moved(error, self.query, self.text) from error
        if not found.tasks and page is None:
            check_filters(self.app, store, **self.filters)
        return found

    def pages(
        self, store: TaskStore, *, page: str | None = None, brief: bool = False
    ) -> Iterator[Page]:
        """Yield all pages, each of a limited size; the errors are those of `search`."""
        while True:
            found = self.search(store, limit=PAGE_SIZE, page=page, brief=brief)
            yield found
            page = found.next
            if page is None:
                return


def _combined(query: str, filters: Mapping[str, str | None]) -> str:
    """Return a query for the tasks that match a query and all filters.

    Raises:
        InvalidQuery: The query cannot be understood.
    """
    parse_query(query)
    given: list[Node] = [
        Match(name, (Value(value, quoted=True),))
        for name, value in filters.items()
        if value is not None
    ]
    if not given:
        return query
    return f"({query}) {all_of(*given)}" if query.strip() else str(all_of(*given))


def _moved(error: InvalidQuery, query: str, combined: str) -> InvalidQuery:
    """Return an error in a combined query as an error in the user's query."""
    before = 0 if combined == query else 1
    return InvalidQuery(query, error.column - before, error.reason)

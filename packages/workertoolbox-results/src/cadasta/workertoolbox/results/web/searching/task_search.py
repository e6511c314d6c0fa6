"""What the page `/tasks` searches for: the state in its URL."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass, replace
from datetime import tzinfo
from typing import Any

from starlette.datastructures import QueryParams
from starlette.requests import Request

from cadasta.workertoolbox.results._query.nodes import EVERYTHING, Node
from cadasta.workertoolbox.results._query.parser import parse_query
from cadasta.workertoolbox.results._query_errors import InvalidPageSize, InvalidQuery
from cadasta.workertoolbox.results._store.search.page_tokens import Page
from cadasta.workertoolbox.results._store.search.query_conditions import requires
from cadasta.workertoolbox.results._store.store import TaskStore
from cadasta.workertoolbox.results.web.site import path
from cadasta.workertoolbox.results.web.window import ALL_TIME, Window, read_window

#: How many tasks a page may have, and how many it has by default.
LIMITS = (25, 50, 100, 250)
DEFAULT_LIMIT = 50
MAX_LIMIT = 500

#: Fields that tie a search to a few tasks, which may be of any age.
_TIED = frozenset(("id", "root", "parent", "group", "rerun_of"))

_DEFAULT_SINCE = "24h"


@dataclass(frozen=True, slots=True)
class TaskSearch:
    """The parameters in the URL, as texts.

    Attributes:
        query: In the language of `docs/reference/searching.md`.
        since: The start of the window, such as `24h`, or `all`.
        until: Its end; empty for the present.
        limit: The number of tasks on a page; empty for the default.
        page: The token of a page; empty for the first one.
    """

    query: str
    since: str
    until: str = ""
    limit: str = ""
    page: str = ""

    @classmethod
    def of(cls, params: QueryParams) -> TaskSearch:
        """Return what a URL asks for, with the default window."""
        query = params.get("query", "").strip()
        node = _parsed(query)
        default = ALL_TIME if requires(node, _TIED) else _DEFAULT_SINCE
        since = params.get("since", default).strip() or ALL_TIME
        if requires(node, ("id",)):
            since = ALL_TIME
        others = ("until", "limit", "page")
        return cls(query, since, *(params.get(name, "").strip() for name in others))

    def url(self, request: Request, route: str = "tasks", **changes: str) -> str:
        """Return the URL of the search with some parameters changed.

        A changed search begins on its first page.
        """
        changed = replace(self, **{"page": "", **changes})
        values: dict[str, Any] = asdict(changed)
        if changed.limit == str(DEFAULT_LIMIT):
            values["limit"] = ""
        return path(request, route, query=values)

    @property
    def length(self) -> int:
        """The number of tasks on a page.

        Raises:
            InvalidPageSize: It is malformed or out of range.
        """
        if not self.limit:
            return DEFAULT_LIMIT
        number = int(self.limit) if re.fullmatch("[0-9]{1,9}", self.limit) else 0
        if not 1 <= number <= MAX_LIMIT:
            raise InvalidPageSize(self.limit, MAX_LIMIT)
        return number

    def window(self, zone: tzinfo) -> Window:
        """Return the window.

        Args:
            zone: The time zone of times without an offset.

        Raises:
            InvalidTime: One of its ends is malformed.
            InvalidWindow: It ends before it begins.
        """
        given = QueryParams({"since": self.since, "until": self.until})
        return read_window(given, default=_DEFAULT_SINCE, zone=zone)

    def read(self, store: TaskStore, zone: tzinfo, *, limit: int | None = None) -> Page:
        """Return the tasks of the page.

        Args:
            zone: As for `window`.
            limit: The number of tasks; by default, that of a page.

        Raises:
            InvalidPageSize: `limit` in the URL is malformed or out of range.
            InvalidTime: An end of the window is malformed.
            ResultsError: Those of `TaskStore.search`.
        """
        length, window = self.length, self.window(zone)
        return store.search(
            self.query,
            since=window.since,
            until=window.until,
            limit=limit or length,
            page=self.page or None,
            brief=True,
        )


def _parsed(query: str) -> Node:
    try:
        return parse_query(query)
    except InvalidQuery:
        return EVERYTHING

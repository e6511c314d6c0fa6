"""What every page of an app shares: the store, the templates and their settings."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache, partial
from importlib.metadata import version
from typing import Any, NamedTuple
from urllib.parse import quote, urlencode

from jinja2 import Environment, PackageLoader, StrictUndefined
from starlette.requests import Request
from starlette.responses import HTMLResponse

from cadasta.workertoolbox.results._errors import DatabaseUnavailable, SchemaOutdated
from cadasta.workertoolbox.results._store.store import TaskStore
from cadasta.workertoolbox.results.web.access.viewer import viewer_of
from cadasta.workertoolbox.results.web.answers.refresher import Refresher
from cadasta.workertoolbox.results.web.drawing.sparklines import sparkline
from cadasta.workertoolbox.results.web.outage_log import OutageLog
from cadasta.workertoolbox.results.web.problems import Problem, problem_of
from cadasta.workertoolbox.results.web.rendering import PageContext, render
from cadasta.workertoolbox.results.web.searching.terms import term
from cadasta.workertoolbox.results.web.wording.formats import (
    FILTERS,
    UNKNOWN,
    instant,
    local_text,
    visible,
    zone_of,
)


class _Entry(NamedTuple):
    """An entry of the navigation: its title, and the key that opens it after `g`."""

    title: str
    key: str


#: The pages in the navigation, by the names of their routes.
PAGES = {
    "overview": _Entry("Overview", "o"),
    "tasks": _Entry("Tasks", "t"),
    "errors": _Entry("Errors", "e"),
    "queues": _Entry("Queues", "q"),
    "workers": _Entry("Workers", "w"),
    "schedules": _Entry("Schedules", "s"),
    "services": _Entry("Services", "v"),
    "quarantine": _Entry("Quarantine", "n"),
    "operations": _Entry("Operations", "p"),
    "health": _Entry("Health", "h"),
}

#: Changes with each release, so that browsers may keep files of the one before.
VERSION = version("workertoolbox-results")


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader(__package__),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
        finalize=visible,
    )
    environment.context_class = PageContext
    environment.filters |= FILTERS | {"sparkline": sparkline}
    environment.globals |= {
        "PAGES": PAGES,
        "UNKNOWN": UNKNOWN,
        "VERSION": VERSION,
        "term": term,
    }
    return environment


@dataclass(frozen=True)
class Site:
    """What the pages of one app share.

    Attributes:
        store: The database; its role only needs to read rows.
        refresher: Asks the database for all viewers.
        slow_refresher: Asks what may take seconds, so that only those who look at such
            windows of time wait for it.
        title: The name of the fleet in the header.
        outages: Logs outages of the database.
    """

    store: TaskStore
    refresher: Refresher
    slow_refresher: Refresher
    title: str = "workertoolbox"
    outages: OutageLog = field(default_factory=OutageLog)
    environment: Environment = field(default_factory=_environment)
    _patterns: dict[tuple[str, ...], str] = field(default_factory=dict, repr=False)

    def path_pattern(self, request: Request, name: str, *parts: str) -> str:
        """Return the path of a route with its parts in braces.

        Starlette tries one route after the other, and a page has hundreds of links.
        """
        key = name, *parts
        if key not in self._patterns:
            marks = {each: f"{{{each}}}" for each in parts}
            self._patterns[key] = str(request.app.url_path_for(name, **marks))
        return self._patterns[key]

    def problem_of(self, error: Exception) -> Problem:
        """Return the problem of an error that a viewer sees, and log an outage."""
        if isinstance(error, DatabaseUnavailable | SchemaOutdated):
            self.outages.add(error)
        return problem_of(error)

    def page(
        self, request: Request, template: str, *, status: int = 200, **values: Any
    ) -> HTMLResponse:
        """Return a template as a page; its links and times are those of the viewer."""
        zone = zone_of(request.cookies)
        shared = {
            "site": self,
            "request": request,
            "path": partial(path, request),
            "tasks_path": partial(tasks_path, request),
            "now": datetime.now(UTC),
            "zone": zone,
            "instant": partial(instant, zone=zone),
            "local": partial(local_text, zone=zone),
            "viewer": viewer_of(request),
            "here": partial(here, request),
        }
        text = render(self.environment, template, {**shared, **values})
        return HTMLResponse(text, status)


def site_of(request: Request) -> Site:
    """Return the site that a request belongs to."""
    found: Site = request.app.state.site
    return found


def here(request: Request) -> str:
    """Return the path of a request with its query, without that of the mount."""
    quoted = request.scope.get("raw_path") or quote(request.url.path).encode()
    path = quoted.decode("latin-1").partition("?")[0]
    inside = path.removeprefix(quote(request.state.root))
    return f"{inside}?{request.url.query}" if request.url.query else inside


def path(
    request: Request, name: str, /, *, query: dict[str, Any] | None = None, **parts: str
) -> str:
    """Return the path of a route, under the path that the app is mounted at.

    Args:
        query: Parameters of its query; those that are None or empty are left out.
    """
    # Some proxies refuse %2F. Ids may contain slashes, the names of files do.
    safe = "/" if name == "static" else ""
    quoted = {key: quote(value, safe=safe) for key, value in parts.items()}
    pattern = site_of(request).path_pattern(request, name, *quoted)
    found = f"{request.state.root}{pattern.format(**quoted)}"
    given = {key: value for key, value in (query or {}).items() if value}
    return f"{found}?{urlencode(given)}" if given else found


def tasks_path(request: Request, query: str, *, since: str, until: str = "") -> str:
    """Return the path of the tasks behind a number on a page.

    Args:
        since: Start of the window in which they were counted, `all` for those of any
            age; without it, the list would show the last 24 hours.
        until: Its end; empty for the present.
    """
    given = {"query": query, "since": since, "until": until}
    return path(request, "tasks", query=given)

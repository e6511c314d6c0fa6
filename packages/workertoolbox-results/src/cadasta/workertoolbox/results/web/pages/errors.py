"""The pages `/errors` and `/errors/ID`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta, tzinfo

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Match, Route
from starlette.types import Scope

from cadasta.workertoolbox.results._errors import UnknownErrorState
from cadasta.workertoolbox.results._store.errors.changes import DONE
from cadasta.workertoolbox.results._store.errors.groups import STATES, ErrorGroup
from cadasta.workertoolbox.results._store.errors.names import COUNTED_DAYS, errors_in
from cadasta.workertoolbox.results._store.figures.releases import Release
from cadasta.workertoolbox.results._store.figures.rollups import TaskFigures
from cadasta.workertoolbox.results.web.drawing.charts import (
    HEIGHT,
    Chart,
    Series,
    Steps,
    bar_chart,
)
from cadasta.workertoolbox.results.web.searching.terms import term
from cadasta.workertoolbox.results.web.site import site_of
from cadasta.workertoolbox.results.web.wording.formats import zone_of

#: Maximum number of groups on the page.
MAX_GROUPS = 100

#: Maximum number of characters of an error in the list.
MAX_SAMPLE = 200

HOUR, DAY = timedelta(hours=1), timedelta(days=1)

#: Number of the newest changes of its state, and of the newest tasks, on the page of a
#: group.
MAX_CHANGES = 10
MAX_TASKS = 20


def show_all(request: Request) -> Response:
    """Return the page with all groups, or those in a state or of a name."""
    site = site_of(request)
    state = request.query_params.get("state") or None
    name = request.query_params.get("name", "").strip() or None
    if state is not None and state not in STATES:
        raise UnknownErrorState(state, STATES)
    groups = site.store.error_groups(state=state, name=name, limit=MAX_GROUPS + 1)
    return site.page(
        request,
        "errors.html",
        groups=groups[:MAX_GROUPS],
        has_more=len(groups) > MAX_GROUPS,
        counts=site.store.count_error_groups(),
        state=state,
        name=name,
        headline=headline,
    )


def show_group(request: Request) -> Response:
    """Return the page of a group."""
    site = site_of(request)
    id = request.path_params["id"]
    group = site.store.error_group(id)
    now = datetime.now(UTC)
    since = now - timedelta(days=COUNTED_DAYS - 1)
    windows = [
        site.store.figures(since=now - 23 * HOUR, step=HOUR, error_group=id),
        site.store.figures(since=since, step=DAY, error_group=id),
    ]
    names = site.store.stats(since=since, by="name", error_group=id, internal=True)
    releases, zone = site.store.releases(since=since - DAY), zone_of(request.cookies)
    axes = [_steps(window, now, zone, releases) for window in windows]
    charts = _draw(windows, axes)
    return site.page(
        request,
        "error_group.html",
        group=group,
        headline=headline,
        charts=charts,
        tables=[
            (chart, steps, [*_errors(window).items()])
            for chart, steps, window in zip(charts, axes, windows, strict=True)
        ],
        names=[(row.value, errors_in(row)) for row in names.rows],
        tasks=site.store.list(error_group=id, limit=MAX_TASKS, internal=True),
        query=term("error_group", id),
        changes=site.store.error_group_changes(id, limit=MAX_CHANGES),
        DONE=DONE,
        DAYS=COUNTED_DAYS,
        HEIGHT=HEIGHT,
    )


def _steps(
    window: TaskFigures, now: datetime, zone: tzinfo, releases: Sequence[Release]
) -> Steps:
    since = [each.since for each in window.series]
    return Steps(since, window.until, known_until=now, zone=zone, releases=releases)


def _draw(windows: Sequence[TaskFigures], axes: Sequence[Steps]) -> Sequence[Chart]:
    """Return the charts of the errors by the hour and by the day."""
    titles = ("Last 24 hours", "errors per hour"), ("Last 30 days", "errors per day")
    charts = []
    for (title, unit), window, steps in zip(titles, windows, axes, strict=True):
        errors = Series("errors", "bad", [*_errors(window).values()])
        charts.append(bar_chart(title, unit, steps, [errors]))
    return charts


def _errors(window: TaskFigures) -> Mapping[datetime, int]:
    """Return the number of errors in each step of a window, by its start."""
    return {each.since: each.count + each.failed_attempts for each in window.series}


def headline(group: ErrorGroup) -> str:
    """Return the beginning of the latest error of a group, on one line."""
    sample = (group.sample or group.type or "erased").strip()
    first, *others = sample.splitlines() or [sample]
    is_cut = others or len(first) > MAX_SAMPLE
    return f"{first[:MAX_SAMPLE]}{'…' if is_cut else ''}"


class _ReadOnly(Route):
    """A route that does not know of other methods, which operators have below it.

    Without an operator, `POST /errors/KEY/resolve` is an unknown path.
    """

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """Return whether the route answers a request."""
        found, child_scope = super().matches(scope)
        return (found, child_scope) if found is Match.FULL else (Match.NONE, {})


ROUTES = [
    Route("/errors", show_all, name="errors"),
    _ReadOnly("/errors/{id:path}", show_group, name="error_group"),
]

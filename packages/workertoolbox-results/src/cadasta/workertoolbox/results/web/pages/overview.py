"""The page `/`: what happens in the fleet, and what has changed."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta, tzinfo

from starlette.datastructures import QueryParams
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from cadasta.workertoolbox.results._errors import InvalidWindow
from cadasta.workertoolbox.results._number_text import find_change
from cadasta.workertoolbox.results._store.figures.rollup_sums import Percentiles
from cadasta.workertoolbox.results.web.answers.overview import (
    MAX_STUCK,
    Ended,
    EndedQuestion,
    Present,
    PresentQuestion,
    usual_questions,
)
from cadasta.workertoolbox.results.web.answers.refresher import Answer
from cadasta.workertoolbox.results.web.drawing.charts import (
    HEIGHT,
    Chart,
    Series,
    Steps,
    bar_chart,
    line_chart,
)
from cadasta.workertoolbox.results.web.site import Site, site_of
from cadasta.workertoolbox.results.web.window import WINDOWS, read_window
from cadasta.workertoolbox.results.web.wording import rankings
from cadasta.workertoolbox.results.web.wording.formats import zone_of

#: The window of the page without one in its URL.
DEFAULT = "1h"

#: Maximum number of rows of each table.
ROWS = 8

#: Seconds that figures may be old without a notice.
MAX_LAG_S = 300.0

#: Units of steps, with their lengths in minutes.
_UNITS = {"day": 1440, "hour": 60, "minute": 1}


def show(request: Request) -> Response:
    """Return the page."""
    site, zone = site_of(request), zone_of(request.cookies)
    given = {key: value for key, value in request.query_params.items() if value.strip()}
    window = read_window(QueryParams(given), default=DEFAULT, zone=zone)
    if window.since is None:
        raise InvalidWindow("the overview needs a start of its window, such as 7d")
    present = site.refresher.ask(PresentQuestion())
    ended = site.refresher.ask(EndedQuestion.of(window, zone))
    site.refresher.keep(*usual_questions())
    table, steps = ended.value.table, steps_of(ended.value, zone)
    return site.page(
        request,
        "overview.html",
        window=window,
        windows=WINDOWS,
        url=str(request.url.replace(scheme="", netloc="")),
        asked_at=min(present.at, ended.at),
        problem=_problem(site, present, ended),
        present=present.value,
        ended=ended.value,
        total=table.total,
        charts=draw(ended.value, steps),
        steps=steps,
        chart_height=HEIGHT,
        max_stuck=MAX_STUCK,
        max_lag_s=MAX_LAG_S,
        rows=ROWS,
        slowest=rankings.slowest(table, ROWS),
        failing=rankings.most_failing(table, ROWS),
        find_change=find_change,
        changed_most=rankings.most_changed(table, ROWS),
    )


def _problem(site: Site, present: Answer[Present], ended: Answer[Ended]) -> str | None:
    """Return why a part of the page is not up to date."""
    error = present.error or ended.error
    if error is not None:
        return site.problem_of(error).detail
    is_late = present.is_late or ended.is_late
    return "the database has not answered since then" if is_late else None


def steps_of(ended: Ended, zone: tzinfo) -> Steps:
    """Return the steps of a window, with the releases in it."""
    return Steps(
        since=[each.since for each in ended.figures.series],
        until=ended.figures.until,
        known_until=ended.table.until,
        zone=zone,
        releases=ended.releases,
    )


def draw(ended: Ended, steps: Steps) -> Sequence[Chart]:
    """Return the charts of a window."""
    series = ended.figures.series
    unit = f"tasks per {step_text(ended.step)}"
    failed = Series("failed", "bad", [each.failed for each in series])
    others = [each.count - each.failed for each in series]
    stacked = [failed, Series("not failed", "usual", others)]
    waits = _percentiles([each.waited for each in series])
    runs = _percentiles([each.ran for each in series])
    return [
        bar_chart("Tasks that ended", unit, steps, stacked),
        bar_chart("Failures", unit, steps, [failed]),
        line_chart("Waits", "logarithmic", steps, waits),
        line_chart("Run times", "logarithmic", steps, runs),
    ]


def _percentiles(values: Sequence[Percentiles]) -> Sequence[Series]:
    return [
        Series("p50", "p50", [each.p50_s for each in values]),
        Series("p95", "p95", [each.p95_s for each in values]),
        Series("p99", "p99", [each.p99_s for each in values]),
    ]


def step_text(step: timedelta) -> str:
    """Return the length of a step, such as `minute` and `3 hours`."""
    minutes = step // timedelta(minutes=1)
    unit, size = next((*each,) for each in _UNITS.items() if not minutes % each[1])
    number = minutes // size
    return unit if number == 1 else f"{number} {unit}s"


ROUTES = [Route("/", show, name="overview")]

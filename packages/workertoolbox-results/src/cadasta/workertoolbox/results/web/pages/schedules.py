"""The page `/schedules`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from cadasta.workertoolbox.results._store.schedules import Schedule
from cadasta.workertoolbox.results.web.site import site_of

#: Maximum number of entries that are shown.
MAX_SHOWN = 100

#: How far monitors may be behind without a warning.
MAX_LAG = timedelta(minutes=2)


class _Choice(NamedTuple):
    """Some of the entries: their title, and whether an entry is one of them."""

    title: str
    holds: Callable[[Schedule], bool]


#: What the page may show, as `show` in its URL.
CHOICES: Mapping[str, _Choice] = {
    "": _Choice("all", lambda each: not each.removed),
    "overdue": _Choice("overdue", lambda each: each.overdue and not each.removed),
    "failed": _Choice(
        "last run failed",
        lambda each: (
            not each.removed
            and each.last is not None
            and each.last.status in ("FAILURE", "LOST")
        ),
    ),
    "removed": _Choice("removed", lambda each: each.removed),
}


def show(request: Request) -> Response:
    """Return the page."""
    site = site_of(request)
    chosen = request.query_params.get("show", "")
    if chosen not in CHOICES:
        chosen = ""
    known = site.store.schedules(removed=True)
    counts = {key: sum(map(each.holds, known)) for key, each in CHOICES.items()}
    found = [each for each in known if CHOICES[chosen].holds(each)]
    shown = found[:MAX_SHOWN]
    known_until = known[0].known_until if known else datetime.now(UTC)
    return site.page(
        request,
        "schedules.html",
        entries=list(zip(shown, site.store.schedule_runs(shown), strict=True)),
        others=len(found) - len(shown),
        choices=CHOICES,
        chosen=chosen,
        counts=counts,
        known_until=known_until,
        is_behind=datetime.now(UTC) - known_until > MAX_LAG,
    )


ROUTES = [Route("/schedules", show, name="schedules")]

"""The page `/schedules`."""

from __future__ import annotations

from datetime import timedelta

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from cadasta.workertoolbox.results.web.answers.fleet import (
    CHOICES,
    SchedulesQuestion,
    is_chosen,
)
from cadasta.workertoolbox.results.web.site import site_of

#: How far monitors may be behind without a warning.
MAX_LAG = timedelta(minutes=2)


def show(request: Request) -> Response:
    """Return the page."""
    site = site_of(request)
    chosen = request.query_params.get("show", "")
    if chosen not in CHOICES:
        chosen = ""
    answer = site.refresher.ask(SchedulesQuestion(chosen))
    known, shown = answer.value.entries, answer.value.runs
    counts = {key: sum(is_chosen(each, key) for each in known) for key in CHOICES}
    known_until = known[0].known_until if known else answer.at
    return site.page(
        request,
        "schedules.html",
        answer=answer,
        entries=shown,
        others=counts[chosen] - len(shown),
        choices=CHOICES,
        chosen=chosen,
        counts=counts,
        known_until=known_until,
        is_behind=answer.at - known_until > MAX_LAG,
    )


ROUTES = [Route("/schedules", show, name="schedules")]

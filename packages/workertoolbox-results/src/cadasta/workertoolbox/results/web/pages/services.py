"""The page `/services`."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from cadasta.workertoolbox.results.web.answers.fleet import ServicesQuestion
from cadasta.workertoolbox.results.web.site import site_of
from cadasta.workertoolbox.results.web.window import read_window
from cadasta.workertoolbox.results.web.wording.formats import zone_of

#: The windows that the page offers, as `since` in its URL, with their titles.
WINDOWS = {"1h": "1 hour", "24h": "24 hours", "7d": "7 days"}

#: Maximum number of rows.
MAX_SHOWN = 200


def show(request: Request) -> Response:
    """Return the page."""
    site = site_of(request)
    zone = zone_of(request.cookies)
    window = read_window(request.query_params, default="24h", zone=zone)
    is_usual = window.since_text in WINDOWS
    refresher = site.refresher if is_usual else site.slow_refresher
    answer = refresher.ask(ServicesQuestion.of(window, zone))
    found = answer.value
    # Workers without `result_extended` do not store their names.
    are_named = any(each.workers for each in found)
    unrun = [each for each in found if are_named and not each.workers]
    only_unrun = request.query_params.get("run") == "no"
    shown = unrun if only_unrun else found
    return site.page(
        request,
        "services.html",
        answer=answer,
        routes=shown[:MAX_SHOWN],
        others=shown[MAX_SHOWN:],
        senders={each.sender for each in found if each.sender is not None},
        names={each.name for each in found},
        queues={each.queue for each in found},
        unrun=unrun,
        only_unrun=only_unrun,
        are_named=are_named,
        window=window,
        windows=WINDOWS,
    )


ROUTES = [Route("/services", show, name="services")]

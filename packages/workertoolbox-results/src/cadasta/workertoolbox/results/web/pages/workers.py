"""The page `/workers`."""

from __future__ import annotations

from datetime import datetime, timedelta

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from cadasta.workertoolbox.results._history.ended_tasks import SILENT_S
from cadasta.workertoolbox.results._store.fleet.workers import Worker
from cadasta.workertoolbox.results.web.answers.fleet import WorkersQuestion
from cadasta.workertoolbox.results.web.site import site_of
from cadasta.workertoolbox.results.web.window import read_window
from cadasta.workertoolbox.results.web.wording.formats import zone_of

#: The windows in which a worker was seen, as `since` in the URL, with their titles.
WINDOWS = {"1h": "1 hour", "24h": "24 hours"}

#: Number of running tasks that are shown of each worker, and of workers.
SHOWN_TASKS, MAX_SHOWN = 3, 200


def show(request: Request) -> Response:
    """Return the page."""
    site = site_of(request)
    zone = zone_of(request.cookies)
    window = read_window(request.query_params, default="1h", zone=zone)
    is_usual = window.since_text in WINDOWS
    refresher = site.refresher if is_usual else site.slow_refresher
    answer = refresher.ask(WorkersQuestion.of(window, zone))
    found = answer.value
    silent = {each.name for each in found if _is_silent(each, answer.at)}
    return site.page(
        request,
        "workers.html",
        answer=answer,
        workers=found[:MAX_SHOWN],
        others=found[MAX_SHOWN:],
        silent=silent,
        silent_min=SILENT_S / 60,
        stuck=[each for each in found if each.name in silent and each.running],
        running=sum(len(each.running) for each in found),
        ended=sum(each.ended for each in found),
        failed=sum(each.failed for each in found),
        shown_tasks=SHOWN_TASKS,
        window=window,
        windows=WINDOWS,
    )


def _is_silent(worker: Worker, now: datetime) -> bool:
    return now - worker.seen_at > timedelta(seconds=SILENT_S)


ROUTES = [Route("/workers", show, name="workers")]

"""The page `/tasks`, its CSV, and the completion of its query."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import cache

from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from cadasta.workertoolbox.results._errors import (
    DatabaseUnavailable,
    ResultsError,
    SchemaOutdated,
)
from cadasta.workertoolbox.results._store.search.page_tokens import Page
from cadasta.workertoolbox.results._store.store import TaskStore
from cadasta.workertoolbox.results.web.problems import Problem, problem_of
from cadasta.workertoolbox.results.web.searching.completions import Known, complete
from cadasta.workertoolbox.results.web.searching.task_csv import MAX_ROWS, csv_lines
from cadasta.workertoolbox.results.web.searching.task_search import (
    DEFAULT_LIMIT,
    LIMITS,
    TaskSearch,
)
from cadasta.workertoolbox.results.web.searching.terms import (
    statuses_of,
    with_status,
    with_term,
)
from cadasta.workertoolbox.results.web.site import site_of
from cadasta.workertoolbox.results.web.window import ALL_TIME, WINDOWS
from cadasta.workertoolbox.results.web.wording.formats import visible, zone_of

#: The statuses that the page has links for.
_STATUSES = (
    *("QUEUED", "SCHEDULED", "PLANNED", "STARTED", "RETRY"),
    *("SUCCESS", "FAILURE", "LOST", "REVOKED"),
)

#: The windows that the page offers, by `since`.
_WINDOWS = {**WINDOWS, ALL_TIME: "all time"}

#: How far back workers are completed.
_WORKERS_SINCE = timedelta(days=1)


def show(request: Request) -> Response:
    """Return the page; one that says what is wrong has the same box and filters."""
    search = TaskSearch.of(request.query_params)
    zone = zone_of(request.cookies)
    found, problem = Page((), None), None
    try:
        window = search.window(zone)
        found = search.read(site_of(request).store, zone)
    except (DatabaseUnavailable, SchemaOutdated):
        raise
    except ResultsError as error:
        window, problem = None, problem_of(error)
    return _page(request, search, found, problem, window=window)


def _page(
    request: Request,
    search: TaskSearch,
    found: Page,
    problem: Problem | None,
    **values: object,
) -> Response:
    @cache  # Most values are in several rows.
    def with_added(field: str, value: str | None) -> str | None:
        """Return the URL of the search with a term, or None if it has it already."""
        query = search.query if value is None else with_term(search.query, field, value)
        return None if query == search.query else search.url(request, query=query)

    def with_chosen(status: str | None) -> str:
        return search.url(request, query=with_status(search.query, status))

    return site_of(request).page(
        request,
        "tasks.html",
        status=problem.status if problem else 200,
        problem=problem,
        search=search,
        tasks=found.tasks,
        next_url=found.next and search.url(request, page=found.next),
        url=lambda **changes: search.url(request, **changes),
        csv_url=search.url(request, "tasks_csv", page=search.page),
        with_term=with_added,
        with_status=with_chosen,
        chosen=statuses_of(search.query),
        statuses=_STATUSES,
        windows=_WINDOWS,
        limits=LIMITS,
        current_limit=search.limit or str(DEFAULT_LIMIT),
        max_rows=MAX_ROWS,
        is_refreshed=not (search.page or search.until or problem),
        **values,
    )


def download(request: Request) -> Response:
    """Return the tasks from the page on as CSV."""
    search = TaskSearch.of(request.query_params)
    store, zone = site_of(request).store, zone_of(request.cookies)
    lines = csv_lines(store, search, zone)
    return StreamingResponse(
        lines,
        media_type="text/csv; charset=utf-8",
        headers={"content-disposition": 'attachment; filename="tasks.csv"'},
    )


def completions(request: Request) -> Response:
    """Return what may follow the text before the cursor."""
    text = request.query_params.get("text", "")
    kept, options = complete(text, _known(site_of(request).store))
    return JSONResponse(
        {
            "kept": kept,
            "options": [
                {"text": each.text, "label": visible(each.label), "hint": each.hint}
                for each in options
            ],
        }
    )


def _known(store: TaskStore) -> Known:
    def workers() -> list[str]:
        since = datetime.now(UTC) - _WORKERS_SINCE
        return [each.name for each in store.workers(since=since)]

    return {
        "name": store.names,
        "queue": store.queues,
        "worker": workers,
        "schedule": lambda: sorted({each.entry for each in store.schedules()}),
    }


ROUTES = [
    Route("/tasks", show, name="tasks"),
    Route("/tasks.csv", download, name="tasks_csv"),
    Route("/completions", completions, name="completions"),
]

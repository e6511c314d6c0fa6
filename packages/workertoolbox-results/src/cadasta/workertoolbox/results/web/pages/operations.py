"""The pages `/operations` and `/operations/KEY`: what users have done."""

from __future__ import annotations

from collections.abc import Sequence

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from cadasta.workertoolbox.results._store.errors.changes import DONE
from cadasta.workertoolbox.results.web.operating.publishing import BackgroundReruns
from cadasta.workertoolbox.results.web.site import site_of

#: Maximum number of operations on the page.
MAX_OPERATIONS = 50

#: Maximum number of tasks of an operation on one page.
MAX_TASKS = 100

#: What operations of each kind do.
KINDS = {
    "rerun": "Rerun",
    "failed-steps": "Rerun of failed steps",
    **{kind: f"Errors {done}" for kind, done in DONE.items()},
}


def operation_routes(reruns: BackgroundReruns | None) -> Sequence[BaseRoute]:
    """Return the routes; `reruns` are those that this process publishes."""

    def show(request: Request) -> Response:
        site, id = site_of(request), request.path_params["id"]
        after = request.query_params.get("after", "")
        position = int(after) if after.isdecimal() and len(after) < 10 else -1
        found = site.store.operation(id)
        tasks = site.store.operation_tasks(id, after=position, limit=MAX_TASKS + 1)
        return site.page(
            request,
            "operation.html",
            operation=found,
            KINDS=KINDS,
            DONE=DONE,
            tasks=tasks[:MAX_TASKS],
            next=tasks[MAX_TASKS - 1].position if len(tasks) > MAX_TASKS else None,
            is_running=reruns is not None and reruns.is_running(id),
            error=reruns.find_error(id) if reruns is not None else None,
        )

    return [
        Route("/operations", show_all, name="operations"),
        Route("/operations/{id}", show, name="operation"),
    ]


def show_all(request: Request) -> Response:
    """Return the newest operations."""
    site = site_of(request)
    found = site.store.operations(limit=MAX_OPERATIONS)
    return site.page(
        request, "operations.html", operations=found, KINDS=KINDS, DONE=DONE
    )

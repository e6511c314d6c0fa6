"""The page `/workflows/ID`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from cadasta.workertoolbox.results._database.statuses import PLANNED
from cadasta.workertoolbox.results._errors import TaskNotFound
from cadasta.workertoolbox.results._store.store import TaskStore
from cadasta.workertoolbox.results._store.tasks.attempts import Attempt
from cadasta.workertoolbox.results._task import Task, failure_text
from cadasta.workertoolbox.results._workflows.holdups import has_failed
from cadasta.workertoolbox.results._workflows.workflow import (
    PathStep,
    Workflow,
    WorkflowNode,
)
from cadasta.workertoolbox.results.web.drawing.bars_svg import MARKS, draw_bars
from cadasta.workertoolbox.results.web.drawing.task_bars import KINDS
from cadasta.workertoolbox.results.web.drawing.workflow_rows import (
    MAX_ROWS,
    Place,
    find_branch,
    find_excerpt,
    first_failure,
    make_axis,
    make_rows,
)
from cadasta.workertoolbox.results.web.searching.terms import term
from cadasta.workertoolbox.results.web.site import path, site_of

#: Maximum number of tasks that a workflow waits for that are listed.
MAX_HOLDUPS = 5

#: Maximum number of characters of an error in the tree.
MAX_ERROR = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """The part of a tree that a page shows.

    Attributes:
        branch: Id of the task beneath which it is; None for the whole tree.
        is_excerpt: Whether the less important tasks are left out.
        is_whole: Whether all rows of the branch are shown, page by page.
        first: The number of the first row, from 0.
        count: Number of rows.
        total: Number of rows of all pages.
    """

    branch: str | None = None
    is_excerpt: bool = False
    is_whole: bool = False
    first: int = 0
    count: int
    total: int

    @property
    def previous(self) -> int | None:
        """The first row of the page before; None on the first page."""
        return max(self.first - MAX_ROWS, 0) if self.first else None

    @property
    def next(self) -> int | None:
        """The first row of the next page; None on the last page."""
        end = self.first + self.count
        return end if end < self.total else None


def show(request: Request) -> Response:
    """Return the page of the workflow that a task or a group belongs to."""
    site = site_of(request)
    id = request.path_params["id"]
    workflow = site.store.workflow_of(id, outline=True)
    failed = first_failure(workflow)
    requested = next((task for task in workflow if task.id == id), None)
    is_part = requested is not None and requested.root_id != id
    requested_id = id if is_part else None
    wanted = (requested_id, failed.id if failed else None)
    nodes = [*workflow.walk()]
    places, part = _places(request, workflow, nodes, *wanted)
    axis = make_axis(workflow)
    attempts = _attempts(site.store, places)
    root = workflow[0]
    return site.page(
        request,
        "workflow.html",
        id=id,
        root=root,
        workflow=workflow,
        rows=make_rows(workflow, nodes, places, attempts, axis),
        axis=axis,
        part=part,
        failed=failed,
        requested_id=requested_id,
        holdups=workflow.held_up_by[:MAX_HOLDUPS],
        longest_wait=_longest(workflow, lambda step: step.wait_s),
        longest_run=_longest(workflow, lambda step: step.run_s),
        query=_query(workflow, id),
        url=path(request, "workflow", id=id, query={**request.query_params}),
        error_text=_error_text,
        draw_bars=draw_bars,
        KINDS=KINDS,
        MARKS=MARKS,
    )


def _attempts(
    store: TaskStore, places: Sequence[Place]
) -> Mapping[str, Sequence[Attempt]]:
    """Return the attempts of the tasks at some places, by their ids."""
    nodes = (each.node for each in places if each.node is not None)
    # Planned steps have none, and would be looked for in all days of the history.
    tasks = [each.task for each in nodes if each.task.status != PLANNED]
    ends = {each.id: each.finished_at for each in tasks if each.finished_at is not None}
    return store.attempts_of([each.id for each in tasks], ended_at=ends)


def _query(workflow: Workflow, id: str) -> str:
    """Return the query for the tasks of a workflow.

    Args:
        id: Id of its group, if its tasks have several roots.
    """
    roots = {task.root_id or task.id for task in workflow}
    return term("root", roots.pop()) if len(roots) == 1 else term("group", id)


def _longest(
    workflow: Workflow, seconds: Callable[[PathStep], float | None]
) -> PathStep | None:
    """Return the step of the critical path with the most seconds, if it has any."""
    steps = workflow.critical_path
    found = max(steps, key=lambda step: seconds(step) or 0.0, default=None)
    return found if found is not None and seconds(found) else None


def _places(
    request: Request,
    workflow: Workflow,
    nodes: Sequence[tuple[int, WorkflowNode]],
    *wanted: str | None,
) -> tuple[Sequence[Place], Part]:
    """Return the rows that a request asks for.

    Args:
        nodes: What `walk` of the workflow yields.
        wanted: Ids of tasks that an excerpt should contain, the first one before all.
    """
    params = request.query_params
    branch = params.get("branch")
    if branch is None and params.get("rows") != "all":
        total = len(nodes)
        places = find_excerpt(workflow, nodes, *wanted)
        return places, Part(is_excerpt=total > MAX_ROWS, count=total, total=total)
    every = find_branch(nodes, branch)
    if branch is not None and not every:
        raise TaskNotFound(branch)
    first = _first(params.get("from", "0"))
    places = every[first : first + MAX_ROWS]
    return places, Part(
        branch=branch, is_whole=True, first=first, count=len(places), total=len(every)
    )


def _first(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and len(text) < 10):
        raise HTTPException(400, f"from must be the number of a row, not {text!r}")
    return int(text)


def _error_text(task: Task) -> str | None:
    """Return why a task did not succeed, on one line; None for others."""
    if not has_failed(task) or task.result is None:
        return None
    text = str(failure_text(task.result) or task.result).strip()
    first, *others = text.splitlines() or [""]
    is_cut = others or len(first) > MAX_ERROR
    return f"{first[:MAX_ERROR]}{'…' if is_cut else ''}"


ROUTES = [Route("/workflows/{id:path}", show, name="workflow")]

"""The page `/rerun`, on which operators run tasks again."""

from __future__ import annotations

import logging
from http import HTTPStatus

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import BaseRoute, Route

from cadasta.workertoolbox.results._errors import DatabaseUnavailable, OperationNotFound
from cadasta.workertoolbox.results._reruns.plan import RerunPlan
from cadasta.workertoolbox.results._reruns.publishing import begin_rerun
from cadasta.workertoolbox.results._safe_text import log_text
from cadasta.workertoolbox.results._store.store import TaskStore
from cadasta.workertoolbox.results.web.access.rights import explained_refusal, require
from cadasta.workertoolbox.results.web.access.viewer import viewer_of
from cadasta.workertoolbox.results.web.operating.forms import Form, form_handler
from cadasta.workertoolbox.results.web.operating.operator import Operator
from cadasta.workertoolbox.results.web.operating.rerun_request import (
    RerunRequest,
    request_of_form,
    request_of_query,
)
from cadasta.workertoolbox.results.web.site import here, path, site_of
from cadasta.workertoolbox.results.web.wording.formats import zone_of

logger = logging.getLogger(__name__)

#: Maximum number of characters of a reason.
MAX_REASON_LENGTH = 500


def rerun_routes(operator: Operator) -> list[BaseRoute]:
    """Return the routes of the page."""
    pages = _RerunPages(operator)
    return [
        Route("/rerun", pages.preview, name="rerun"),
        Route("/rerun", form_handler(pages.begin, right="rerun"), methods=["POST"]),
    ]


class _RerunPages:
    def __init__(self, operator: Operator) -> None:
        self._operator = operator

    def preview(self, request: Request) -> Response:
        """Return the page with what would be published; nothing is changed."""
        require(request, "rerun")
        store = site_of(request).store
        wanted = request_of_query(request.query_params, store, zone_of(request.cookies))
        plan = wanted.plan(self._operator.app, store)
        return self._page(request, wanted, plan, again_path=_again_path(request, plan))

    def begin(self, request: Request, form: Form) -> Response:
        """Publish the tasks if their number is confirmed, else return the page."""
        store, wanted = site_of(request).store, request_of_form(form)
        if _has_begun(store, wanted.key):
            return _lead_to(request, wanted.key)
        plan = wanted.plan(self._operator.app, store)
        count, reason = len(plan.allowed), form.get("reason", "").strip()
        problem = None
        if form.get("shown") != str(count):
            problem = "Meanwhile another number of tasks can be run again: look again."
        elif form.get("count", "").strip() != str(count):
            problem = f"Nothing was published. Type {count} to confirm."
        elif not 0 < len(reason) <= MAX_REASON_LENGTH:
            problem = "Nothing was published. Write why the tasks are run again."
        if problem is not None or not count:
            return self._page(request, wanted, plan, problem, reason=reason)
        self._start(request, wanted, plan, reason)
        return _lead_to(request, wanted.key)

    def _start(
        self, request: Request, wanted: RerunRequest, plan: RerunPlan, reason: str
    ) -> None:
        """Begin the operation, unless the same form has begun it meanwhile."""
        store, signature = site_of(request).store, viewer_of(request).signature
        try:
            with explained_refusal("an operator"):
                begin_rerun(
                    *(store, plan),
                    made_by=signature,
                    reason=reason,
                    selection=wanted.selection,
                    id=wanted.key,
                )
        except DatabaseUnavailable:
            # A second click sends the form again before the first one is answered.
            if not _has_begun(store, wanted.key):
                raise
            return
        count, by = len(plan.allowed), log_text(signature)
        logger.info("operation %s: %d tasks, by %s", wanted.key, count, by)
        self._operator.reruns.start(store, wanted.key)

    def _page(
        self,
        request: Request,
        wanted: RerunRequest,
        plan: RerunPlan,
        problem: str | None = None,
        *,
        reason: str = "",
        again_path: str | None = None,
    ) -> Response:
        return site_of(request).page(
            request,
            "rerun.html",
            status=HTTPStatus.OK if problem is None else HTTPStatus.CONFLICT,
            wanted=wanted,
            plan=plan,
            steps=sum(each.is_step for each in plan.allowed),
            problem=problem,
            reason=reason,
            again_path=again_path,
            max_reason_length=MAX_REASON_LENGTH,
        )


def _has_begun(store: TaskStore, key: str) -> bool:
    try:
        store.operation(key)
    except OperationNotFound:
        return False
    return True


def _lead_to(request: Request, key: str) -> Response:
    return RedirectResponse(path(request, "operation", id=key), HTTPStatus.SEE_OTHER)


def _again_path(request: Request, plan: RerunPlan) -> str | None:
    """Return the path of the page with what other operations have rerun, if any."""
    is_wanted = "again" in request.query_params
    if is_wanted or not any(each.was_rerun for each in plan.tasks):
        return None
    return f"{request.state.root}{here(request)}&again=yes"

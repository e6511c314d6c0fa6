"""Which tasks a user wants to run again, and what would become of them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import tzinfo
from http import HTTPStatus

from celery import Celery
from starlette.datastructures import QueryParams
from starlette.exceptions import HTTPException

from cadasta.workertoolbox.results._reruns.journal import is_key
from cadasta.workertoolbox.results._reruns.plan import RerunPlan, plan_rerun
from cadasta.workertoolbox.results._reruns.steps import plan_failed_steps
from cadasta.workertoolbox.results._store.operations.rows import new_key
from cadasta.workertoolbox.results._store.store import TaskStore
from cadasta.workertoolbox.results.web.searching.task_search import TaskSearch

#: Maximum number of tasks that a page runs again at once.
MAX_TASKS = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class RerunRequest:
    """Which tasks a user wants to run again.

    Attributes:
        ids: Their ids, in the order in which they are published.
        root_id: The workflow whose failed steps they are, if they are.
        selection: How they were selected, for the journal.
        has_more: Whether more tasks match.
        again: Whether also those are wanted that another operation has rerun.
        key: The key of the operation, so that a form that is sent twice begins one.
    """

    ids: Sequence[str]
    root_id: str | None = None
    selection: str
    has_more: bool = False
    again: bool = False
    key: str = field(default_factory=new_key)

    def plan(self, app: Celery, store: TaskStore) -> RerunPlan:
        """Return which of them can be run again.

        Raises:
            DatabaseUnavailable: The database cannot be reached or refuses the query.
            TaskNotFound: The database does not know the workflow.
        """
        if self.root_id is not None:
            return plan_failed_steps(app, store, self.root_id, again=self.again)
        return plan_rerun(app, store, self.ids, again=self.again)

    def fields(self) -> Mapping[str, str]:
        """Return the fields of a form with the same request."""
        given = {"selection": self.selection, "ids": json.dumps([*self.ids])}
        given["key"] = self.key
        if self.root_id is not None:
            given["root"] = self.root_id
        if self.again:
            given["again"] = "yes"
        return given


def request_of_query(
    params: QueryParams, store: TaskStore, zone: tzinfo
) -> RerunRequest:
    """Return the request of a URL: with `id`s, a `root`, or a `query` and its window.

    Raises:
        HTTPException: The URL has none of them.
        InvalidQuery: The query cannot be understood.
        InvalidTime: `since` or `until` is malformed.
        InvalidWindow: The window ends before it begins.
        TaskNotFound: There is no task with one of the ids.
    """
    again = bool(params.get("again"))
    if root_id := params.get("root"):
        return RerunRequest(ids=(), root_id=root_id, selection=root_id, again=again)
    ids = [each for each in params.getlist("id") if each]
    if ids:
        for id in ids[:MAX_TASKS]:
            store.get(id, shortened=True)
        return RerunRequest(
            ids=ids[:MAX_TASKS],
            selection=" ".join(ids),
            has_more=len(ids) > MAX_TASKS,
            again=again,
        )
    search = TaskSearch.of(params)
    if not search.query:
        raise HTTPException(
            HTTPStatus.BAD_REQUEST, "name the tasks: with an id, a root or a query"
        )
    window = search.window(zone)
    page = replace(search, page="").read(store, zone, limit=MAX_TASKS)
    bounds = (("since", window.since), ("until", window.until))
    shown = (
        f"{name} {at.isoformat(timespec='seconds')}"
        for name, at in bounds
        if at is not None
    )
    return RerunRequest(
        ids=[task.id for task in page.tasks][::-1],  # Published oldest first.
        selection=" ".join([search.query, *shown]),
        has_more=page.next is not None,
        again=again,
    )


def request_of_form(form: Mapping[str, str]) -> RerunRequest:
    """Return the request of a form with `RerunRequest.fields`.

    Raises:
        HTTPException: The fields are malformed.
    """
    try:
        ids = json.loads(form.get("ids", ""))
    except (ValueError, RecursionError):
        ids = None
    is_valid = isinstance(ids, list) and all(isinstance(each, str) for each in ids)
    key = form.get("key", "")
    if not is_valid or len(ids) > MAX_TASKS or not is_key(key):
        raise HTTPException(HTTPStatus.BAD_REQUEST, "the form is malformed")
    return RerunRequest(
        ids=ids,
        root_id=form.get("root"),
        selection=form.get("selection", ""),
        again="again" in form,
        key=key,
    )

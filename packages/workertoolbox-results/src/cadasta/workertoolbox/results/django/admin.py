"""Tasks and groups of errors in Django's administration, where nobody changes them.

The lists are those of `TaskStore`, which finds tasks by indexes. Django would count and
sort all rows of the view for each page.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, ClassVar

from django.contrib import admin, messages
from django.contrib.admin.views.main import ChangeList
from django.http import HttpRequest
from django.urls import NoReverseMatch, reverse

from cadasta.workertoolbox.results._errors import (
    ErrorGroupNotFound,
    ResultsError,
    TaskNotFound,
)
from cadasta.workertoolbox.results._store.errors.groups import STATES
from cadasta.workertoolbox.results.django.models import ErrorGroup, Task
from cadasta.workertoolbox.results.django.store import find_store
from cadasta.workertoolbox.results.web.searching.terms import with_term

#: The parameter with the token of a page of tasks.
AFTER = "after"

#: The statuses that have a filter.
_STATUSES = (
    *("QUEUED", "SCHEDULED", "PLANNED", "STARTED", "RETRY"),
    *("SUCCESS", "FAILURE", "LOST", "REVOKED"),
)


class _Filter(admin.SimpleListFilter):
    """A filter that `_StoreAdmin.read` applies."""

    def lookups(self, request: HttpRequest, model_admin: Any) -> Iterable[Any]:
        """Return the values, each with its label; none while the database is away."""
        try:
            return [(each, each) for each in self.values()]
        except ResultsError:
            return ()

    def values(self) -> Sequence[str]:
        """Return the values that can be chosen."""
        raise NotImplementedError

    def queryset(self, request: HttpRequest, queryset: Any) -> Any:
        """Return the query unchanged: it is not executed."""
        return queryset


class _Status(_Filter):
    title = parameter_name = "status"

    def values(self) -> Sequence[str]:
        return _STATUSES


class _Name(_Filter):
    title = parameter_name = "name"

    def values(self) -> Sequence[str]:
        return find_store().names()


class _Queue(_Filter):
    title = parameter_name = "queue"

    def values(self) -> Sequence[str]:
        return find_store().queues()


class _State(_Filter):
    title = parameter_name = "state"

    def values(self) -> Sequence[str]:
        return STATES


class _StoreList(ChangeList):
    """A list that a `TaskStore` reads."""

    def get_filters(self, request: HttpRequest) -> Any:
        """Return the filters. The links of their values begin at the first page."""
        self.after = self.params.pop(AFTER, None)
        self.filter_params.pop(AFTER, None)
        return super().get_filters(request)

    def get_results(self, request: HttpRequest) -> None:
        """Read one page. Nothing is counted, so the number of rows is not known."""
        chosen = {each.parameter_name: each.value() for each in self.filter_specs}
        self.result_list, next = self.model_admin.read(request, self, chosen)
        self.newest_url = self.get_query_string() if self.after else None
        self.older_url = self.get_query_string({AFTER: next}) if next else None
        self.result_count = self.full_result_count = len(self.result_list)
        self.show_full_result_count = self.show_admin_actions = False
        self.can_show_all, self.multi_page = True, False


class _StoreAdmin(admin.ModelAdmin):
    """Rows that can be viewed by users with the permission, and changed by nobody."""

    actions = None
    sortable_by = ()
    list_per_page = 100
    change_list_template = "workertoolbox/change_list.html"
    #: Where the web page of a row is.
    folder: ClassVar[str]

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        """Return the class of the list."""
        return _StoreList

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Return False for everybody."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Return False for everybody."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Return False for everybody."""
        return False

    def view_on_site(self, obj: Any) -> str | None:
        """Return the URL of the web page, if the pages are in the project's URLs."""
        try:
            return str(reverse("workertoolbox:page", args=[f"{self.folder}/{obj.pk}"]))
        except NoReverseMatch:
            return None

    def read(self, request: HttpRequest, list: Any, chosen: dict[str, Any]) -> Any:
        """Return the rows of a page, and the token of the next one."""
        raise NotImplementedError


@admin.register(Task)
class TaskAdmin(_StoreAdmin):
    """The tasks, newest first."""

    folder = "tasks"
    list_display = (
        *("id", "name", "status", "queue", "scheduled_at", "finished_at", "worker"),
        "retries",
    )
    list_filter = (_Status, _Name, _Queue)
    search_fields = ("id",)
    search_help_text = "A query, such as: name:mail.* args.order_id:4711"

    def get_search_results(
        self, request: HttpRequest, queryset: Any, search_term: str
    ) -> tuple[Any, bool]:
        """Return the query unchanged: it is not executed."""
        return queryset, False

    def read(self, request: HttpRequest, list: Any, chosen: dict[str, Any]) -> Any:
        """Return a page of the tasks that match the text and the filters."""
        query = list.query
        for field, value in chosen.items():
            if value is not None:
                value = value.lower() if field == "status" else value
                query = with_term(query, field, value)
        try:
            found = find_store().search(
                query, limit=self.list_per_page, page=list.after, brief=True
            )
        except ResultsError as error:
            messages.error(request, str(error))
            return [], None
        return [Task.of(each) for each in found.tasks], found.next

    def get_object(
        self, request: HttpRequest, object_id: str, from_field: str | None = None
    ) -> Task | None:
        """Return a task, or None if there is none with this id."""
        try:
            return Task.of(find_store().get(object_id))
        except TaskNotFound:
            return None


@admin.register(ErrorGroup)
class ErrorGroupAdmin(_StoreAdmin):
    """The groups of errors, the one with the latest error first."""

    folder = "errors"
    list_display = ("sample", "state", "count", "name", "place", "first_at", "last_at")
    list_filter = (_State,)

    def read(self, request: HttpRequest, list: Any, chosen: dict[str, Any]) -> Any:
        """Return the groups with the latest errors."""
        try:
            found = find_store().error_groups(
                state=chosen.get("state"), limit=self.list_per_page
            )
        except ResultsError as error:
            messages.error(request, str(error))
            return [], None
        return [ErrorGroup.of(each) for each in found], None

    def get_object(
        self, request: HttpRequest, object_id: str, from_field: str | None = None
    ) -> ErrorGroup | None:
        """Return a group, or None if there is none with this id."""
        try:
            return ErrorGroup.of(find_store().error_group(object_id))
        except ErrorGroupNotFound:
            return None

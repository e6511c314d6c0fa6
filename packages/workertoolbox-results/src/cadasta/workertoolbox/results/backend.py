"""The result backend `workertoolbox+…`: Celery's tables, one statement a write."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any

from celery import Celery, states
from celery.app import app_or_default
from celery.backends import base
from celery.exceptions import ImproperlyConfigured, Reject
from celery.result import result_from_tuple
from celery.utils.time import maybe_timedelta
from kombu.utils.encoding import ensure_bytes
from sqlalchemy import Table, delete, select
from sqlalchemy.exc import DBAPIError

from cadasta.workertoolbox.results._arguments.jsonable import jsonable
from cadasta.workertoolbox.results._arguments.redaction import Redaction
from cadasta.workertoolbox.results._arguments.truncation import (
    max_argument_bytes,
    truncate,
)
from cadasta.workertoolbox.results._backend.chords import NativeChords
from cadasta.workertoolbox.results._backend.deferred_starts import (
    Start,
    deferred_starts_of,
)
from cadasta.workertoolbox.results._backend.reading import Lookup
from cadasta.workertoolbox.results._backend.requeue import (
    EndNotStored,
    requeued_in_an_outage,
)
from cadasta.workertoolbox.results._backend.states import write_state
from cadasta.workertoolbox.results._database.connection import shared_database
from cadasta.workertoolbox.results._database.engine import (
    database_url,
    insert_into,
    is_outage,
)
from cadasta.workertoolbox.results._database.tables import (
    NAME_LENGTH,
    taskmeta,
    tasksetmeta,
)
from cadasta.workertoolbox.results._database.types import naive_utc
from cadasta.workertoolbox.results._headers import work_queue
from cadasta.workertoolbox.results._history.cleanup import (
    delete_chords,
    delete_groups,
    delete_results,
)


class Backend(Lookup, NativeChords, base.BaseBackend):
    """Store results in `celery_taskmeta` and `celery_tasksetmeta`.

    The tables are those of Celery's own database backend, so `db+…` reads what this
    one writes. They are made by `celery -A … tasks upgrade`, never here.

    Args:
        url: The database's URL for SQLAlchemy, without `workertoolbox+`.

    Raises:
        ImproperlyConfigured: A serializer other than JSON.
        InvalidLimit: A `MAX_ARGUMENT_BYTES` that is none.
        InvalidURL: The URL names no SQL database, or its driver is not installed.
    """

    # What Celery's class has and `celery-types` does not know.
    app: Celery
    expires: timedelta | None
    serializer: str
    url: str | None
    _ensure_retryable: Callable[..., Any]

    def __init__(self, app: Celery, url: str | None = None, **kwargs: Any) -> None:
        super().__init__(app=app, url=url, expires_type=maybe_timedelta, **kwargs)
        if self.serializer != "json":
            raise ImproperlyConfigured(
                f"result_serializer {self.serializer!r} is refused: results are JSON "
                "only; set result_serializer='json'"
            )
        # None is the default too, as in Celery's own database backend.
        if not _is_set(app, "result_backend_always_retry"):
            self.always_retry = True
        if not _is_set(app, "result_backend_max_retries"):
            # With Celery's waits, up to about ten seconds; its default is for ever.
            self.max_retries = 10
        self.database = shared_database(database_url(url))
        self._starts = deferred_starts_of(self.database)
        self._redaction = Redaction.from_app(app)
        self._max_bytes = max_argument_bytes(app)

    def encode(self, data: Any) -> Any:
        """Return JSON. What JSON has no type for is left to kombu, which is slower."""
        try:
            return json.dumps(data)
        except (TypeError, ValueError, RecursionError):
            return super().encode(data)

    def exception_safe_to_retry(self, error: Exception) -> bool:
        """Return whether the same statement may succeed later."""
        return isinstance(error, DBAPIError) and is_outage(error)

    def mark_as_done(
        self,
        task_id: str,
        result: Any,
        request: Any = None,
        store_result: bool = True,
        state: str = states.SUCCESS,
    ) -> None:
        """Store a success; without its value where the task ignores its result."""
        with requeued_in_an_outage(request):
            if request and request.chord:
                # First: a task whose success is stored is done to Celery, and if its
                # process died then, nobody would start the body.
                self.on_chord_part_return(request, state, result)
            if request and (not store_result or request.ignore_result):
                result = None
            self.store_result(task_id, result, state, request=request)

    def mark_as_failure(
        self,
        task_id: str,
        exc: Exception,
        traceback: Any = None,
        request: Any = None,
        store_result: bool = True,
        call_errbacks: bool = True,
        state: str = states.FAILURE,
    ) -> None:
        """Store a failure, where the task ignores its result too."""
        if isinstance(exc, EndNotStored):
            return  # It runs again, and has not failed.
        with requeued_in_an_outage(request):
            super().mark_as_failure(
                task_id, exc, traceback, request, True, call_errbacks, state
            )

    def prepare_exception(self, exc: Any, serializer: str | None = None) -> Any:
        """Return an error as it is stored, or as the worker gets to see it."""
        if isinstance(exc, EndNotStored):
            return Reject(str(exc), requeue=True)
        return super().prepare_exception(exc, serializer)

    def _store_result(
        self,
        task_id: str,
        result: Any,
        state: str,
        traceback: str | None = None,
        request: Any = None,
        **kwargs: Any,
    ) -> Any:
        if state == states.STARTED:
            start = self._start(task_id, result, traceback, request)
            if request is not None:
                request.workertoolbox_started_at = start.at
            self._starts.put(task_id, start)
            return result
        row = self._row(task_id, result, state, traceback, request)
        started_at = getattr(request, "workertoolbox_started_at", None)
        row["started_at"] = started_at
        earlier = self._starts.take(task_id)
        brings_it = earlier is not None and earlier.at == started_at
        if earlier is not None and not brings_it:
            write_state(self.database, earlier.row())
        is_first = (brings_it or started_at is None) and not row.get("retries")
        write_state(self.database, row, is_first=is_first)
        return result

    def _start(
        self, task_id: str, result: Any, traceback: str | None, request: Any
    ) -> Start:
        now = datetime.now(UTC)

        def row() -> dict[str, Any]:
            values = self._row(task_id, result, states.STARTED, traceback, request)
            return {**values, "date_done": naive_utc(now), "started_at": now}

        return Start(now, row)

    def _row(
        self,
        task_id: str,
        result: Any,
        state: str,
        traceback: str | None,
        request: Any,
    ) -> dict[str, Any]:
        row = {
            "task_id": task_id,
            "status": state,
            "result": ensure_bytes(self.encode(result)),
            # As Celery's own backend: of a state on the way it is when that came.
            "date_done": naive_utc(datetime.now(UTC)),
            "traceback": jsonable(traceback),
            "children": self._encoded(self.current_task_children(request) or None),
        }
        if request is not None:
            row["root_id"] = getattr(request, "root_id", None)
            row["parent_id"] = getattr(request, "parent_id", None)
            row["group_id"] = getattr(request, "group", None)
            # A worker that does not know the task gives little more than its id.
            if self.app.conf.result_extended and hasattr(request, "args"):
                row.update(self._described(request))
        return row

    def _described(self, request: Any) -> dict[str, Any]:
        """Return what `result_extended` adds: what the task was and where it ran."""
        name = getattr(request, "task", None)
        args, kwargs = self._redaction.redact_message(
            name or "", request.args, request.kwargs, vars(request)
        )
        delivery = getattr(request, "delivery_info", None) or {}
        return {
            "name": _name(name),
            "args": self._encoded_arguments(args),
            "kwargs": self._encoded_arguments(kwargs),
            "worker": _name(request.hostname),
            "retries": request.retries,
            "queue": _name(work_queue(delivery) or None),
            "stamps": self._encoded(_stamps(request)),
        }

    def _encoded_arguments(self, arguments: Any) -> bytes:
        encoded = ensure_bytes(self.encode(arguments))
        if len(encoded) <= self._max_bytes:
            return encoded
        # As a message has them, so that a monitor stores the same.
        cut_arguments = truncate(json.loads(encoded), self._max_bytes)
        return ensure_bytes(self.encode(cut_arguments))

    def _encoded(self, value: Any) -> bytes | None:
        return None if value is None else ensure_bytes(self.encode(value))

    def _forget(self, task_id: str) -> None:
        self._delete(taskmeta, taskmeta.c.task_id == task_id)

    def _save_group(self, group_id: str, result: Any) -> Any:
        row = {
            "taskset_id": group_id,
            "result": ensure_bytes(self.encode(result.as_tuple())),
            "date_done": naive_utc(datetime.now(UTC)),
        }
        insert = insert_into(tasksetmeta, self.database.dialect.name).values(row)
        with self.database.connect() as connection:
            connection.execute(
                insert.on_conflict_do_update(
                    index_elements=[tasksetmeta.c.taskset_id], set_=row
                )
            )
        return result

    def _restore_group(self, group_id: str) -> dict[str, Any] | None:
        query = select(tasksetmeta).where(tasksetmeta.c.taskset_id == group_id)
        with self.database.connect() as connection:
            row = connection.execute(query).mappings().first()
        if row is None:
            return None
        result = result_from_tuple(self._decode_optional(row["result"]), self.app)
        return {**row, "result": result}

    def _delete_group(self, group_id: str) -> None:
        self._delete(tasksetmeta, tasksetmeta.c.taskset_id == group_id)

    def cleanup(self) -> None:
        """Delete what is older than `result_expires`, a bounded number of rows a time.

        A state counts from when it was stored, a chord from its latest task.
        """
        if self.expires:
            before = datetime.now(UTC) - self.expires
            for delete_some in (delete_results, delete_groups, delete_chords):
                while self._ensure_retryable(delete_some, self.database, before):
                    pass

    def __reduce__(self) -> Any:
        return _rebuild, (type(self), (), {"url": self.url})

    def _delete(self, table: Table, condition: Any) -> None:
        with self.database.connect() as connection:
            connection.execute(delete(table).where(condition))


def _is_set(app: Celery, name: str) -> bool:
    return app.conf.value_set_for(name) and app.conf[name] is not None


def _rebuild(cls: type[Backend], args: Any, kwargs: dict[str, Any]) -> Backend:
    """Unpickle a backend for the current app, which is not pickled along."""
    return cls(app_or_default(), *args, **kwargs)


@lru_cache(maxsize=1024)
def _name(text: str | None) -> str | None:
    return text and str(jsonable(text))[:NAME_LENGTH]


def _stamps(request: Any) -> dict[str, Any] | None:
    headers = request.stamped_headers
    if not request.stamps or not headers:
        return None
    stamps = {name: request.stamps[name] for name in headers if name in request.stamps}
    return {"stamped_headers": headers, "stamps": stamps}

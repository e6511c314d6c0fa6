"""The result backend `workertoolbox+…`: Celery's tables, one statement a write."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from celery import Celery, states
from celery.app import app_or_default
from celery.backends import base
from celery.exceptions import ImproperlyConfigured, TimeoutError
from celery.result import result_from_tuple
from celery.utils.time import maybe_timedelta
from kombu.utils.encoding import ensure_bytes
from sqlalchemy import RowMapping, Table, bindparam, delete, select
from sqlalchemy.exc import DBAPIError

from cadasta.workertoolbox.results._cleanup import (
    delete_chords,
    delete_groups,
    delete_results,
)
from cadasta.workertoolbox.results._engine import (
    database_url,
    insert_into,
    is_outage,
    shared_engine,
)
from cadasta.workertoolbox.results._errors import PickledResult
from cadasta.workertoolbox.results._native_chords import NativeChords
from cadasta.workertoolbox.results._starts import starts_of
from cadasta.workertoolbox.results._state import store
from cadasta.workertoolbox.results._storable import storable
from cadasta.workertoolbox.results._tables import taskmeta, tasksetmeta
from cadasta.workertoolbox.results._types import naive_utc
from cadasta.workertoolbox.results._waits import waits

#: Longest time in seconds between two looks for a result: Celery's own interval.
LONGEST_WAIT_S = 0.5

#: Task ids in one query: below SQLite's limit of 32,766 variables.
IDS_IN_A_QUERY = 5000

#: Characters of a name in Celery's own columns.
NAME_LENGTH = 155

#: First byte of every pickle of protocol 2 and later.
_PICKLE = b"\x80"


class Backend(NativeChords, base.BaseBackend):
    """Store results in `celery_taskmeta` and `celery_tasksetmeta`.

    The tables are those of Celery's own database backend, so `db+…` reads what this
    one writes. They are made by `celery -A … tasks upgrade`, never here.

    Args:
        url: The database's URL for SQLAlchemy, without `workertoolbox+`.

    Raises:
        ImproperlyConfigured: A serializer other than JSON.
        InvalidURL: The URL names no SQL database, or its driver is not installed.
    """

    #: Groups ask for all their results in one query.
    supports_native_join = True

    # What Celery's class has and `celery-types` does not know.
    app: Celery
    expires: timedelta | None
    serializer: str
    url: str | None
    _cache: Any
    _ensure_not_eager: Callable[[], None]
    _ensure_retryable: Callable[..., Any]
    _get_result_meta: Callable[..., dict[str, Any]]

    def __init__(self, app: Celery, url: str | None = None, **kwargs: Any) -> None:
        super().__init__(app=app, url=url, expires_type=maybe_timedelta, **kwargs)
        if self.serializer != "json":
            raise ImproperlyConfigured(
                f"result_serializer {self.serializer!r} is refused: results are JSON "
                "only; set result_serializer='json'"
            )
        if not app.conf.value_set_for("result_backend_always_retry"):
            self.always_retry = True
        if not app.conf.value_set_for("result_backend_max_retries"):
            # With Celery's waits, up to about ten seconds; its default is for ever.
            self.max_retries = 10
        # One connection for the process; a fork opens its own.
        self.engine = shared_engine(database_url(url))
        self._starts = starts_of(self.engine)

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
        super().mark_as_failure(
            task_id, exc, traceback, request, True, call_errbacks, state
        )

    def _store_result(
        self,
        task_id: str,
        result: Any,
        state: str,
        traceback: str | None = None,
        request: Any = None,
        **kwargs: Any,
    ) -> Any:
        meta = self._get_result_meta(
            result=ensure_bytes(self.encode(result)),
            state=state,
            traceback=traceback,
            request=request,
            format_date=False,
            encode=True,
        )
        row = {name: storable(meta.get(name)) for name in _META}
        for name in ("name", "worker", "queue"):
            row[name] = row[name] and row[name][:NAME_LENGTH]
        row["task_id"] = task_id
        # As Celery's own backend: of a state on the way it is when that came.
        row["date_done"] = naive_utc(meta["date_done"] or datetime.now(UTC))
        row["children"] = self._encode_optional(meta.get("children"))
        row["stamps"] = self._encode_optional(_stamps(meta))
        row["root_id"] = getattr(request, "root_id", None)
        row["parent_id"] = getattr(request, "parent_id", None)
        row["group_id"] = getattr(request, "group", None)
        if state == states.STARTED:
            row["started_at"] = datetime.now(UTC)
            if request is not None:
                request.workertoolbox_started_at = row["started_at"]
            self._starts.put(row)
            return result
        row["started_at"] = getattr(request, "workertoolbox_started_at", None)
        start = self._starts.take(task_id)
        if start is not None and start["started_at"] != row["started_at"]:
            store(self.engine, start)  # The row does not bring it along.
        store(self.engine, row)
        return result

    def wait_for(
        self,
        task_id: str,
        timeout: float | None = None,
        interval: float = LONGEST_WAIT_S,
        no_ack: bool = True,
        on_interval: Callable[[], object] | None = None,
    ) -> dict[str, Any]:
        """Wait for a task, and return its meta.

        Args:
            timeout: Seconds after which to give up, or None.
            interval: Longest time in seconds between two looks; the first are short.

        Raises:
            celery.exceptions.TimeoutError: It took longer.
        """
        [(_, meta)] = self.get_many(
            {task_id}, timeout=timeout, interval=interval, on_interval=on_interval
        )
        return meta

    def get_many(
        self,
        task_ids: Iterable[str],
        timeout: float | None = None,
        interval: float = LONGEST_WAIT_S,
        no_ack: bool = True,
        on_message: Callable[[dict[str, Any]], object] | None = None,
        on_interval: Callable[[], object] | None = None,
        max_iterations: int | None = None,
    ) -> Iterator[tuple[str, dict[str, Any]]]:
        """Yield the id and meta of each task when it is ready, all by one query a look.

        Args:
            timeout: Seconds after which to give up, or None.
            interval: Longest time in seconds between two looks; the first are short.
            max_iterations: Most looks.

        Raises:
            celery.exceptions.TimeoutError: Some were not ready in time.
        """
        self._ensure_not_eager()
        missing = set(task_ids)
        count = len(missing)
        for wait_s in waits(timeout, longest_s=interval or LONGEST_WAIT_S):
            for task_id, meta in self._ready(missing):
                missing.discard(task_id)
                if on_message is not None:
                    on_message(meta)
                yield task_id, meta
            max_iterations = max_iterations and max_iterations - 1
            if not missing or max_iterations == 0:
                return
            if on_interval:
                on_interval()
            if wait_s is None:
                raise TimeoutError(
                    f"{len(missing)} of {count} results not there within {timeout} s"
                )
            time.sleep(wait_s)

    def _ready(self, task_ids: set[str]) -> list[tuple[str, dict[str, Any]]]:
        cached = [
            (task_id, self._cache[task_id])
            for task_id in task_ids
            if self.is_cached(task_id)
            and self._cache[task_id]["status"] in states.READY_STATES
        ]
        unknown = task_ids.difference(task_id for task_id, _ in cached)
        found: dict[str, dict[str, Any]] = self._ensure_retryable(
            self._fetch_ready, list(unknown)
        )
        self._cache.update(found)
        return [*cached, *found.items()]

    def _fetch_ready(self, task_ids: list[str]) -> dict[str, dict[str, Any]]:
        found = {}
        with self.engine.connect() as connection:
            for start in range(0, len(task_ids), IDS_IN_A_QUERY):
                some = task_ids[start : start + IDS_IN_A_QUERY]
                rows = connection.execute(_SELECT_READY, {"ids": some}).mappings()
                found.update({row["task_id"]: self._meta(row) for row in rows})
        return found

    def _get_task_meta_for(self, task_id: str) -> dict[str, Any]:
        if (start := self._starts.take(task_id)) is not None:
            store(self.engine, start)
        with self.engine.connect() as connection:
            row = connection.execute(_SELECT, {"id": task_id}).mappings().first()
        if row is None:
            return {"task_id": task_id, "status": states.PENDING, "result": None}
        return self._meta(row)

    def _meta(self, row: RowMapping) -> dict[str, Any]:
        meta = {name: row[name] for name in ("task_id", *_META)}
        for name in ("result", "args", "kwargs", "children"):
            meta[name] = self._decode_optional(meta[name])
        stamps = self._decode_optional(row["stamps"])
        if stamps:
            meta["stamped_headers"] = stamps["stamped_headers"]
            meta.update(stamps["stamps"])
        decoded: dict[str, Any] = self.meta_from_decoded(meta)
        return decoded

    def _task_result_exists(self, task_id: str) -> bool:
        query = select(taskmeta.c.id).where(taskmeta.c.task_id == task_id)
        with self.engine.connect() as connection:
            return connection.execute(query).first() is not None

    def task_result_exists(self, task_id: str) -> bool:
        """Return whether any state of a task is stored."""
        exists: bool = self._ensure_retryable(self._task_result_exists, task_id)
        return exists

    def _forget(self, task_id: str) -> None:
        self._delete(taskmeta, taskmeta.c.task_id == task_id)

    def _save_group(self, group_id: str, result: Any) -> Any:
        row = {
            "taskset_id": group_id,
            "result": ensure_bytes(self.encode(result.as_tuple())),
            "date_done": naive_utc(datetime.now(UTC)),
        }
        insert = insert_into(tasksetmeta, self.engine.dialect.name).values(row)
        with self.engine.connect() as connection:
            connection.execute(
                insert.on_conflict_do_update(
                    index_elements=[tasksetmeta.c.taskset_id], set_=row
                )
            )
        return result

    def _restore_group(self, group_id: str) -> dict[str, Any] | None:
        query = select(tasksetmeta).where(tasksetmeta.c.taskset_id == group_id)
        with self.engine.connect() as connection:
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
                while self._ensure_retryable(delete_some, self.engine, before):
                    pass

    def __reduce__(self) -> Any:
        return _rebuild, (type(self), (), {"url": self.url})

    def _delete(self, table: Table, condition: Any) -> None:
        with self.engine.connect() as connection:
            connection.execute(delete(table).where(condition))

    def _encode_optional(self, value: Any) -> bytes | None:
        return ensure_bytes(self.encode(value)) if value else None

    def _decode_optional(self, content: bytes | None) -> Any:
        if content is None:
            return None
        content = bytes(content)
        if content.startswith(_PICKLE):
            raise PickledResult()
        return self.decode(content)


#: Columns that Celery's result meta and the table name alike.
_META = (
    "status",
    "result",
    "date_done",
    "traceback",
    "children",
    "name",
    "args",
    "kwargs",
    "worker",
    "retries",
    "queue",
)


def _rebuild(cls: type[Backend], args: Any, kwargs: dict[str, Any]) -> Backend:
    """Unpickle a backend for the current app, which is not pickled along."""
    return cls(app_or_default(), *args, **kwargs)


_SELECT = select(taskmeta).where(taskmeta.c.task_id == bindparam("id"))

_SELECT_READY = select(taskmeta).where(
    taskmeta.c.task_id.in_(bindparam("ids", expanding=True)),
    taskmeta.c.status.in_(sorted(states.READY_STATES)),
)


def _stamps(meta: Mapping[str, Any]) -> dict[str, Any] | None:
    headers = meta.get("stamped_headers")
    if not headers:
        return None
    stamps = {name: meta[name] for name in headers if name in meta}
    return {"stamped_headers": headers, "stamps": stamps}

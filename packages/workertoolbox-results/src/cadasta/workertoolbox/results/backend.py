"""The result backend `workertoolbox+…`: Celery's tables, one statement a write."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from celery import Celery, states
from celery.app import app_or_default
from celery.backends import base
from celery.exceptions import ImproperlyConfigured
from celery.result import result_from_tuple
from celery.utils.time import maybe_timedelta
from kombu.utils.encoding import ensure_bytes
from sqlalchemy import Engine, Table, delete, func, or_, select
from sqlalchemy.exc import DBAPIError

from cadasta.workertoolbox.results._engine import (
    database_url,
    insert_into,
    is_outage,
    shared_engine,
)
from cadasta.workertoolbox.results._errors import PickledResult
from cadasta.workertoolbox.results._storable import storable
from cadasta.workertoolbox.results._tables import taskmeta, tasksetmeta

#: Characters of a name in Celery's own columns.
NAME_LENGTH = 155

#: First byte of every pickle of protocol 2 and later.
_PICKLE = b"\x80"


class Backend(base.BaseBackend):
    """Store results in `celery_taskmeta` and `celery_tasksetmeta`.

    The tables are those of Celery's own database backend, so `db+…` reads what this
    one writes. They are made by `celery -A … tasks upgrade`, never here.

    Args:
        url: The database's URL for SQLAlchemy, without `workertoolbox+`.

    Raises:
        ImproperlyConfigured: A serializer other than JSON.
        InvalidURL: The URL names no SQL database.
    """

    # What Celery's class has and `celery-types` does not know.
    app: Celery
    expires: timedelta | None
    serializer: str
    url: str | None
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
        self._database = database_url(url)

    @property
    def engine(self) -> Engine:
        """One connection for the process; a fork opens its own."""
        return shared_engine(self._database)

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
        if request and (not store_result or request.ignore_result):
            self.store_result(task_id, None, state, request=request)
        super().mark_as_done(task_id, result, request, store_result, state)

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
        row["date_done"] = _naive_utc(meta["date_done"])
        row["children"] = self._encode_optional(meta.get("children"))
        row["stamps"] = self._encode_optional(_stamps(meta))
        row["root_id"] = getattr(request, "root_id", None)
        row["parent_id"] = getattr(request, "parent_id", None)
        row["group_id"] = getattr(request, "group", None)
        if state == states.STARTED:
            row["started_at"] = datetime.now(UTC)
        with self.engine.begin() as connection:
            insert = insert_into(taskmeta, self.engine).values(row)
            changes = {
                name: value
                if name in _OF_THE_STATE
                else func.coalesce(value, taskmeta.c[name])
                for name, value in insert.excluded.items()
                if name in row
            }
            connection.execute(
                insert.on_conflict_do_update(
                    index_elements=[taskmeta.c.task_id],
                    set_=changes,
                    # As Celery since 5.7: the first success stays.
                    where=or_(
                        taskmeta.c.status != states.SUCCESS,
                        taskmeta.c.status.is_(None),
                    ),
                )
            )
        return result

    def _get_task_meta_for(self, task_id: str) -> dict[str, Any]:
        query = select(taskmeta).where(taskmeta.c.task_id == task_id)
        with self.engine.connect() as connection:
            row = connection.execute(query).mappings().first()
        if row is None:
            return {"task_id": task_id, "status": states.PENDING, "result": None}
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
            "date_done": _naive_utc(datetime.now(UTC)),
        }
        insert = insert_into(tasksetmeta, self.engine).values(row)
        with self.engine.begin() as connection:
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
        """Delete the results that are older than `result_expires`."""
        if self.expires:
            before = _naive_utc(datetime.now(UTC) - self.expires)
            for table in (taskmeta, tasksetmeta):
                self._ensure_retryable(self._delete, table, table.c.date_done < before)

    def __reduce__(self) -> Any:
        return _rebuild, (type(self), (), {"url": self.url})

    def _delete(self, table: Table, condition: Any) -> None:
        with self.engine.begin() as connection:
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


#: Columns that belong to a state; a new one replaces them, by nothing too.
_OF_THE_STATE = {"status", "result", "date_done", "traceback", "children"}

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


def _naive_utc(instant: datetime | None) -> datetime | None:
    """Return an instant as `celery_taskmeta` holds it: UTC, without saying so."""
    return instant and instant.astimezone(UTC).replace(tzinfo=None)


def _stamps(meta: Mapping[str, Any]) -> dict[str, Any] | None:
    headers = meta.get("stamped_headers")
    if not headers:
        return None
    stamps = {name: meta[name] for name in headers if name in meta}
    return {"stamped_headers": headers, "stamps": stamps}

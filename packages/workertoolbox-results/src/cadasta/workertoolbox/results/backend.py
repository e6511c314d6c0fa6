"""The result backend `workertoolbox+…`: stores results in Celery's own tables."""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime, timedelta
from typing import Any

from celery import Celery, Task, states
from celery.app import app_or_default
from celery.backends import base
from celery.exceptions import ImproperlyConfigured
from celery.signals import task_prerun, worker_ready
from celery.utils.log import get_logger
from celery.utils.time import maybe_timedelta

from cadasta.workertoolbox.results._backend import pool_exit
from cadasta.workertoolbox.results._backend.archived_results import (
    archived_results_for,
)
from cadasta.workertoolbox.results._backend.chords import ChordMixin
from cadasta.workertoolbox.results._backend.deferred_starts import (
    DeferredStart,
    deferred_starts_for,
)
from cadasta.workertoolbox.results._backend.endings import EndingMixin
from cadasta.workertoolbox.results._backend.failures import FailureMixin
from cadasta.workertoolbox.results._backend.fingerprint import Fingerprint
from cadasta.workertoolbox.results._backend.groups import GroupMixin
from cadasta.workertoolbox.results._backend.ignored import IgnoredMixin
from cadasta.workertoolbox.results._backend.own_keys import OwnKeys
from cadasta.workertoolbox.results._backend.reading import ResultReadingMixin
from cadasta.workertoolbox.results._backend.removal import RemovalMixin
from cadasta.workertoolbox.results._backend.retries import RetryMixin
from cadasta.workertoolbox.results._backend.rows import RowBuilder, waited_s
from cadasta.workertoolbox.results._backend.settings import check_settings
from cadasta.workertoolbox.results._backend.states import write_start, write_state
from cadasta.workertoolbox.results._backend.task_ids import check_id
from cadasta.workertoolbox.results._backend.unrun_steps import UnrunStepsMixin
from cadasta.workertoolbox.results._database.connection import shared_database
from cadasta.workertoolbox.results._database.engine import database_url
from cadasta.workertoolbox.results._database.outages import is_outage
from cadasta.workertoolbox.results._database.types import naive_utc
from cadasta.workertoolbox.results._errors import ResultNotStorable
from cadasta.workertoolbox.results._history.ended_tasks import max_result_bytes

#: Number of retries of a statement while the database is unavailable, about ten seconds
#: on average. Celery's default is no limit.
MAX_RETRIES = 16

#: Longest pause between two of them in milliseconds. With Celery's default of 10,000, a
#: process idles for up to ten seconds after the end of an outage, with its task.
MAX_SLEEP_MS = 2000

logger = get_logger(__name__)


class Backend(
    EndingMixin,
    FailureMixin,
    IgnoredMixin,
    GroupMixin,
    ResultReadingMixin,
    RemovalMixin,
    ChordMixin,
    UnrunStepsMixin,
    RetryMixin,
    base.BaseBackend,
):
    """Store results in `celery_taskmeta` and `celery_tasksetmeta`.

    The tables are those of Celery's own database backend, so `db+…` reads what this
    backend writes. `celery -A … tasks upgrade` creates them; the backend never does.

    Example:
        Celery opens the backend by its URL::

            app = Celery("export", backend="workertoolbox+sqlite:///results.sqlite3")

    Args:
        app: The app whose results are stored.
        url: The database's URL for SQLAlchemy, without `workertoolbox+`.
        **kwargs: Arguments of Celery's `BaseBackend`.

    Attributes:
        database: The database, with the connection that this process shares.

    Raises:
        ImproperlyConfigured: `result_serializer` is not JSON.
        InvalidLimit: `MAX_ARGUMENT_BYTES` or `MAX_HISTORY_RESULT_BYTES` is not a
            positive number of bytes.
        InvalidRedaction: `REDACT` contains an invalid rule.
        InvalidURL: The URL does not name a supported database, or its driver is not
            installed.
        UnsupportedSetting: A setting of Celery's database backend is set, and this
            backend cannot honour it.
    """

    # Attributes of Celery's class that `celery-types` does not know.
    app: Celery
    expires: timedelta | None
    serializer: str
    url: str | None

    def __init__(self, app: Celery, url: str | None = None, **kwargs: Any) -> None:
        super().__init__(app=app, url=url, expires_type=maybe_timedelta, **kwargs)
        if self.serializer != "json":
            raise ImproperlyConfigured(
                f"result_serializer {self.serializer!r} is not supported: results are "
                "JSON only; set result_serializer='json'"
            )
        # None means the default, as in Celery's own database backend.
        if not _is_set(app, "result_backend_always_retry"):
            self.always_retry = True
        if not _is_set(app, "result_backend_max_retries"):
            self.max_retries = MAX_RETRIES
        if not _is_set(app, "result_backend_max_sleep_between_retries_ms"):
            self.max_sleep_between_retries_ms = MAX_SLEEP_MS
        check_settings(app)
        self.database = shared_database(database_url(url))
        self._archived = archived_results_for(self.database)
        self._max_result_bytes = max_result_bytes(app)
        self._deferred_starts = deferred_starts_for(self.database)
        self._rows = RowBuilder(app, self.encode)
        self._own_keys = OwnKeys(app)

    def on_task_call(self, producer: Any, task_id: str) -> Any:
        """Refuse a task whose result could not be stored, before it is published.

        Raises:
            ResultNotStorable: The tables cannot hold its id.
        """
        self._archived.expect(check_id(task_id))
        return {}

    def encode(self, data: Any) -> Any:
        """Return a value as JSON.

        Values of types that JSON does not have are encoded by kombu, which is slower.
        """
        try:
            return json.dumps(data)
        except (TypeError, ValueError, RecursionError):
            return super().encode(data)

    def _store_result(
        self,
        task_id: str,
        result: Any,
        state: str,
        traceback: str | None = None,
        request: Any = None,
        fingerprint: Fingerprint | None = None,
        **kwargs: Any,
    ) -> Any:
        try:
            task_id = check_id(task_id)
        except ResultNotStorable as error:
            logger.error("state %s is not stored: %s", state, error)
            return result
        # A task may store the state again, for example with other meta data.
        if state == states.STARTED and request is not None and not _started_at(request):
            self._store_start(task_id, result, traceback, request)
        else:
            self._store_state(task_id, result, state, traceback, request, fingerprint)
        return result

    def _store_start(
        self, task_id: str, result: Any, traceback: str | None, request: Any
    ) -> None:
        now = datetime.now(UTC)

        def build_row() -> dict[str, Any]:
            row = self.build_row(task_id, result, states.STARTED, traceback, request)
            wait_s = waited_s(request, now)
            return {
                **row,
                "date_done": naive_utc(now),
                "started_at": now,
                "waited_s": wait_s,
            }

        request.workertoolbox_started_at = now
        if not self._deferred_starts.may_wait(getattr(request, "task", None)):
            try:
                write_start(self.database, build_row())
                return
            except Exception as error:
                if not is_outage(error):
                    raise
        self._deferred_starts.put(task_id, DeferredStart(now, build_row))

    def _store_state(
        self,
        task_id: str,
        result: Any,
        state: str,
        traceback: str | None,
        request: Any,
        fingerprint: Fingerprint | None,
    ) -> None:
        row = self.build_row(task_id, result, state, traceback, request, fingerprint)
        started_at = _started_at(request)
        row["started_at"] = started_at
        if state == states.STARTED and started_at is None:
            row["started_at"] = row["date_done"].replace(tzinfo=UTC)
        if started_at is not None:
            if state == states.STARTED:  # Its date is that of the start.
                row["date_done"] = naive_utc(started_at)
            else:
                run_s = (datetime.now(UTC) - started_at).total_seconds()
                self._deferred_starts.count_run(row.get("name"), run_s)
        row["waited_s"] = waited_s(request, started_at)
        start = self._deferred_starts.pop(task_id)
        is_same_run = start is not None and start.started_at == started_at
        if start is not None and not is_same_run:
            write_start(self.database, start.build_row())
        # There is probably no row yet if the start was not written, or if Celery does
        # not report starts.
        is_first = (is_same_run or started_at is None) and not row.get("retries")
        write_state(
            self.database,
            row,
            is_first=is_first,
            is_started=start is None and started_at is not None,
            keeps_start=started_at is None,
        )

    def build_row(
        self,
        task_id: str,
        result: Any,
        state: str,
        traceback: str | None,
        request: Any,
        fingerprint: Fingerprint | None = None,
    ) -> dict[str, Any]:
        """Return the row of a state."""
        return self._rows.build(
            task_id,
            result,
            state,
            traceback=traceback,
            children=self.current_task_children(request),
            request=request,
            fingerprint=fingerprint,
        )

    def note_worker(self, name: str) -> None:
        """Note the name of the worker that this process belongs to."""
        self._rows.worker = name

    def __reduce__(self) -> Any:
        return _rebuild, (type(self), (), {"url": self.url})


def _started_at(request: Any) -> datetime | None:
    """Return when the run of a task began, or None if it is not known."""
    return getattr(request, "workertoolbox_started_at", None)


@worker_ready.connect
def _prepare_worker(sender: Any, **_: object) -> None:
    backend = sender.app.backend
    if isinstance(backend, Backend):
        # Imported here because only workers need it, and it takes time.
        from cadasta.workertoolbox.results._backend.worker_start import prepare_worker

        backend.note_worker(sender.hostname)
        prepare_worker(sender, backend.database, backend.build_row)


@task_prerun.connect
def _store_ignored_start(
    sender: Task[..., Any], task_id: str, task: Task[..., Any], **_: object
) -> None:
    """Store the start of a task that ignores its result, which Celery does not."""
    request = task.request
    ignores = vars(request).get("ignore_result")
    if not (task.ignore_result if ignores is None else ignores) or request.is_eager:
        return
    if not task.track_started or not isinstance(task.backend, Backend):
        return
    meta = {"pid": os.getpid(), "hostname": request.hostname}
    task.backend.store_result(task_id, meta, states.STARTED, request=request)


def _is_set(app: Celery, name: str) -> bool:
    return app.conf.value_set_for(name) and app.conf[name] is not None


def _rebuild(cls: type[Backend], args: Any, kwargs: dict[str, Any]) -> Backend:
    """Rebuild a pickled backend for the current app; the app is not pickled with it."""
    return cls(app_or_default(), *args, **kwargs)


pool_exit.connect_signals()

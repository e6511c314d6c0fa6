"""Read results, and wait for them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from celery import states
from celery.exceptions import TimeoutError
from sqlalchemy import bindparam, select

from cadasta.workertoolbox.results._backend.archived_results import ArchivedResults
from cadasta.workertoolbox.results._backend.deferred_starts import DeferredStarts
from cadasta.workertoolbox.results._backend.polling import LONGEST_S, poll_intervals
from cadasta.workertoolbox.results._backend.result_meta import ResultMetaMixin
from cadasta.workertoolbox.results._backend.retries import no_retries_after
from cadasta.workertoolbox.results._backend.states import write_start
from cadasta.workertoolbox.results._backend.task_ids import check_id
from cadasta.workertoolbox.results._database.connection import Database
from cadasta.workertoolbox.results._database.statuses import FINAL
from cadasta.workertoolbox.results._database.tables import taskmeta
from cadasta.workertoolbox.results._errors import ResultNotStorable

#: Maximum number of task ids in one query: below SQLite's limit of 32,766 variables.
MAX_IDS_PER_QUERY = 5000

#: Seconds after which `get()` searches the history again.
HISTORY_INTERVAL_S = 60.0


class ResultReadingMixin(ResultMetaMixin):
    """The methods by which Celery reads results and waits for them."""

    #: Groups read all their results with one query.
    supports_native_join = True

    database: Database
    _archived: ArchivedResults
    _deferred_starts: DeferredStarts
    _cache: Any
    _ensure_not_eager: Callable[[], None]
    _ensure_retryable: Callable[..., Any]

    def wait_for(
        self,
        task_id: str,
        timeout: float | None = None,
        interval: float = LONGEST_S,
        no_ack: bool = True,
        on_interval: Callable[[], object] | None = None,
        on_message: Callable[[dict[str, Any]], object] | None = None,
    ) -> dict[str, Any]:
        """Wait for a task's final state, and return its meta.

        Args:
            timeout: Seconds after which to give up, or None for no limit.
            interval: Longest time in seconds between two queries; it is shorter at
                first.
            no_ack: Not used: there are no messages to acknowledge.
            on_interval: Called about once an `interval`.
            on_message: Called with the meta.

        Raises:
            celery.exceptions.TimeoutError: The task has not ended in time.
        """
        [(_, meta)] = self.get_many(
            {task_id},
            timeout=timeout,
            interval=interval,
            on_message=on_message,
            on_interval=on_interval,
        )
        return meta

    def wait_for_pending(
        self,
        result: Any,
        timeout: float | None = None,
        interval: float = LONGEST_S,
        no_ack: bool = True,
        on_message: Callable[[dict[str, Any]], object] | None = None,
        on_interval: Callable[[], object] | None = None,
        callback: Any = None,
        propagate: bool = True,
    ) -> Any:
        """Wait for a result, and return or raise its value, for `AsyncResult.get`."""
        meta = self.wait_for(
            result.id,
            timeout=timeout,
            interval=interval,
            on_interval=on_interval,
            on_message=on_message,
        )
        result._maybe_set_cache(meta)
        return result.maybe_throw(propagate=propagate, callback=callback)

    def get_many(
        self,
        task_ids: Iterable[str],
        timeout: float | None = None,
        interval: float = LONGEST_S,
        no_ack: bool = True,
        on_message: Callable[[dict[str, Any]], object] | None = None,
        on_interval: Callable[[], object] | None = None,
        max_iterations: int | None = None,
    ) -> Iterator[tuple[str, dict[str, Any]]]:
        """Yield the id and meta of each task as soon as it has ended.

        One query reads all tasks that have not ended yet. The first time, and then once
        a minute, another query searches the history for them.

        Args:
            timeout: Seconds after which to give up, or None for no limit.
            interval: Longest time in seconds between two queries; it is shorter at
                first.
            no_ack: Not used: there are no messages to acknowledge.
            on_message: Called with each meta before it is yielded.
            on_interval: Called about once an `interval`, and as soon as a task has
                failed.
            max_iterations: Maximum number of queries, or None for no limit.

        Raises:
            celery.exceptions.TimeoutError: Some tasks have not ended in time.
            DatabaseUnavailable: The database cannot be used, until the retries or the
                time are over.
            ResultNotStorable: No result can be stored for one of the ids.
        """
        self._ensure_not_eager()
        # Callers may use UUIDs as ids; publishers and tables have strings.
        callers_ids = {check_id(task_id): task_id for task_id in task_ids}
        missing = set(callers_ids)
        count = len(missing)
        longest_s = interval or LONGEST_S
        called_at = time.monotonic()
        deadline = None if timeout is None else called_at + timeout
        history_at = called_at
        sleeps = poll_intervals(timeout, longest_s=longest_s)
        for iteration, sleep_s in enumerate(sleeps, start=1):
            with_history = time.monotonic() >= history_at
            if with_history:
                history_at = time.monotonic() + HISTORY_INTERVAL_S
            with no_retries_after(deadline):
                ended = self._find_ended(missing, with_history=with_history)
            # Celery raises the errors of a result's parents in `on_interval`. If it is
            # called before a failed chord body is yielded, it raises the error of the
            # header's task instead, which is the cause. It is not called after each
            # query, because it makes a query for each parent.
            is_due = time.monotonic() - called_at >= longest_s
            if on_interval and (is_due or _has_failure(ended)):
                on_interval()
                called_at = time.monotonic()
            for task_id, meta in ended:
                missing.discard(task_id)
                if on_message is not None:
                    on_message(meta)
                yield callers_ids[task_id], meta
            if not missing or iteration == max_iterations:
                return
            if sleep_s is None:
                raise TimeoutError(
                    f"{len(missing)} of {count} results missing after {timeout} s; "
                    "check that a worker is running, or set a longer timeout"
                )
            time.sleep(sleep_s)

    def _find_ended(
        self, task_ids: set[str], *, with_history: bool = True
    ) -> list[tuple[str, dict[str, Any]]]:
        """Return the ids and metas of those tasks that have a final state."""
        cached = [
            (task_id, self._cache[task_id])
            for task_id in task_ids
            if self.is_cached(task_id) and self._cache[task_id]["status"] in FINAL
        ]
        unknown = task_ids.difference(task_id for task_id, _ in cached)
        found: dict[str, dict[str, Any]] = self._ensure_retryable(
            self._fetch_ended, list(unknown), with_history=with_history
        )
        self._cache.update(found)
        return [*cached, *found.items()]

    def _fetch_ended(
        self, task_ids: list[str], *, with_history: bool
    ) -> dict[str, dict[str, Any]]:
        found: dict[str, dict[str, Any]] = {}
        for start in range(0, len(task_ids), MAX_IDS_PER_QUERY):
            ids = task_ids[start : start + MAX_IDS_PER_QUERY]
            with self.database.connect() as connection:
                rows = connection.execute(_SELECT_ENDED, {"ids": ids}).mappings()
                found.update({row["task_id"]: self._meta(row) for row in rows})
            if with_history:
                rest = self._archived.find(id for id in ids if id not in found)
                metas = {id: self._archived_meta(row) for id, row in rest.items()}
                found.update(
                    {id: each for id, each in metas.items() if each["status"] in FINAL}
                )
        return found

    def _get_task_meta_for(self, task_id: str) -> dict[str, Any]:
        unknown = {"task_id": task_id, "status": states.PENDING, "result": None}
        try:
            task_id = check_id(task_id)
        except ResultNotStorable:
            return unknown
        if (start := self._deferred_starts.pop(task_id)) is not None:
            write_start(self.database, start.build_row())
        with self.database.connect() as connection:
            row = connection.execute(_SELECT, {"id": task_id}).mappings().first()
        if row is not None:
            return unknown if row["forgotten"] else self._meta(row)
        archived = self._archived.find([task_id]).get(task_id)
        return unknown if archived is None else self._archived_meta(archived)

    def _task_result_exists(self, task_id: str) -> bool:
        query = select(taskmeta.c.forgotten).where(taskmeta.c.task_id == str(task_id))
        with self.database.connect() as connection:
            row = connection.execute(query).first()
        if row is not None:
            return not row.forgotten
        return bool(self._archived.find([str(task_id)]))

    def task_result_exists(self, task_id: str) -> bool:
        """Return whether any state of a task is stored."""
        exists: bool = self._ensure_retryable(self._task_result_exists, task_id)
        return exists


def _has_failure(ended: Iterable[tuple[str, dict[str, Any]]]) -> bool:
    return any(meta["status"] in states.PROPAGATE_STATES for _, meta in ended)


_SELECT = select(taskmeta).where(taskmeta.c.task_id == bindparam("id"))

_SELECT_ENDED = select(taskmeta).where(
    taskmeta.c.task_id.in_(bindparam("ids", expanding=True)),
    taskmeta.c.status.in_(FINAL),
    taskmeta.c.forgotten.is_not(True),
)

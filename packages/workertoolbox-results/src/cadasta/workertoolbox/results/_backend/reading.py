"""Reading results, and waiting for them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from celery import states
from celery.backends import base
from celery.exceptions import TimeoutError
from sqlalchemy import RowMapping, bindparam, select

from cadasta.workertoolbox.results._backend.deferred_starts import DeferredStarts
from cadasta.workertoolbox.results._backend.polling import waits
from cadasta.workertoolbox.results._backend.states import write_state
from cadasta.workertoolbox.results._database.connection import Database
from cadasta.workertoolbox.results._database.statuses import FINAL
from cadasta.workertoolbox.results._database.tables import taskmeta
from cadasta.workertoolbox.results._errors import PickledResult

#: Longest time in seconds between two looks for a result: Celery's own interval.
LONGEST_WAIT_S = 0.5

#: Task ids in one query: below SQLite's limit of 32,766 variables.
IDS_IN_A_QUERY = 5000

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

#: First byte of every pickle of protocol 2 and later.
_PICKLE = b"\x80"


class Lookup(base.BaseBackend):
    """What Celery asks of a backend about results that are there, or not yet."""

    #: Groups ask for all their results in one query.
    supports_native_join = True

    database: Database
    _starts: DeferredStarts
    _cache: Any
    _ensure_not_eager: Callable[[], None]
    _ensure_retryable: Callable[..., Any]

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
        longest_s = interval or LONGEST_WAIT_S
        called_at = time.monotonic()
        for wait_s in waits(timeout, longest_s=longest_s):
            ready = self._ready(missing)
            # By this Celery raises the error of a parent, rather than that of the body
            # of its chord, which is stored after it; it asks for each parent by itself.
            failed = any(meta["status"] in states.PROPAGATE_STATES for _, meta in ready)
            if on_interval and (failed or time.monotonic() - called_at >= longest_s):
                on_interval()
                called_at = time.monotonic()
            for task_id, meta in ready:
                missing.discard(task_id)
                if on_message is not None:
                    on_message(meta)
                yield task_id, meta
            max_iterations = max_iterations and max_iterations - 1
            if not missing or max_iterations == 0:
                return
            if wait_s is None:
                raise TimeoutError(
                    f"{len(missing)} of {count} results not there within {timeout} s"
                )
            time.sleep(wait_s)

    def _ready(self, task_ids: set[str]) -> list[tuple[str, dict[str, Any]]]:
        cached = [
            (task_id, self._cache[task_id])
            for task_id in task_ids
            if self.is_cached(task_id) and self._cache[task_id]["status"] in FINAL
        ]
        unknown = task_ids.difference(task_id for task_id, _ in cached)
        found: dict[str, dict[str, Any]] = self._ensure_retryable(
            self._fetch_ready, list(unknown)
        )
        self._cache.update(found)
        return [*cached, *found.items()]

    def _fetch_ready(self, task_ids: list[str]) -> dict[str, dict[str, Any]]:
        found = {}
        with self.database.connect() as connection:
            for start in range(0, len(task_ids), IDS_IN_A_QUERY):
                some = task_ids[start : start + IDS_IN_A_QUERY]
                rows = connection.execute(_SELECT_READY, {"ids": some}).mappings()
                found.update({row["task_id"]: self._meta(row) for row in rows})
        return found

    def _get_task_meta_for(self, task_id: str) -> dict[str, Any]:
        if (start := self._starts.take(task_id)) is not None:
            write_state(self.database, start.row())
        with self.database.connect() as connection:
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
        with self.database.connect() as connection:
            return connection.execute(query).first() is not None

    def task_result_exists(self, task_id: str) -> bool:
        """Return whether any state of a task is stored."""
        exists: bool = self._ensure_retryable(self._task_result_exists, task_id)
        return exists

    def _decode_optional(self, content: bytes | None) -> Any:
        if content is None:
            return None
        content = bytes(content)
        if content.startswith(_PICKLE):
            raise PickledResult()
        return self.decode(content)


_SELECT = select(taskmeta).where(taskmeta.c.task_id == bindparam("id"))

_SELECT_READY = select(taskmeta).where(
    taskmeta.c.task_id.in_(bindparam("ids", expanding=True)),
    taskmeta.c.status.in_(FINAL),
)

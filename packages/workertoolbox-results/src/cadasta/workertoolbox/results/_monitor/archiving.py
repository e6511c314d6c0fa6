"""Repeated archiving, in a thread of each monitor or in a command."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial

from sqlalchemy import Engine
from sqlalchemy.exc import DBAPIError

from cadasta.workertoolbox.results._database.outages import (
    exceeded_setting,
    is_blocked,
    is_outage,
    one_line,
)
from cadasta.workertoolbox.results._errors import DatabaseUnavailable
from cadasta.workertoolbox.results._history.archiver import (
    archive_batch,
    lock_archive,
)
from cadasta.workertoolbox.results._history.ended_tasks import (
    ArchiveOptions,
    lock_next,
)
from cadasta.workertoolbox.results._history.purge import drop_expired
from cadasta.workertoolbox.results._history.tidying import PERIODS_S, Housekeeping
from cadasta.workertoolbox.results._history.walks import take_steps
from cadasta.workertoolbox.results._monitor.backoff import backoff, sleep_unless
from cadasta.workertoolbox.results._safe_text import log_text

_logger = logging.getLogger(__name__)

#: Seconds between two searches for tasks to archive.
INTERVAL_S = 10.0

#: Seconds until a failed part of the housekeeping is tried again.
RETRY_S = 60.0

#: Maximum number of tasks that one run leaves out because one of their rows is locked.
#: Each of them costs a wait for the lock.
MAX_BLOCKED = 20

#: Seconds between two searches for days of the history that are too old. Each day is
#: dropped in its own transaction, whose lock stops readers.
DROP_PERIOD_S = 3600.0

#: A pause after each batch, as a multiple of its duration: workers and monitors use the
#: database too.
REST_FACTOR = 1.0

#: The same while the monitor has more messages than it can store: until this burst is
#: over, the archiver takes a fifteenth of the time. While it took a tenth, a monitor
#: stored 0.84 × as many messages per second (`hatch run bench archiver`).
BUSY_REST_FACTOR = 14.0

#: Seconds for which the archiver makes way for the monitor before it has archived all
#: ended tasks. Then it logs that it is behind, and takes half of the time again.
MAX_BEHIND_S = 600.0

#: The least pause between two runs of a part of the housekeeping, as a multiple of its
#: duration.
HOUSEKEEPING_REST = 10.0


class Archiving:
    """Archives batches of tasks repeatedly, and does the housekeeping.

    If several processes archive, one of them works at a time.

    Args:
        should_stop: Returns whether to stop; asked after each batch and once a second.
        is_busy: Returns whether the monitor has more messages than it can store.
    """

    def __init__(
        self,
        engine: Engine,
        options: ArchiveOptions,
        *,
        should_stop: Callable[[], bool],
        is_busy: Callable[[], bool] = lambda: False,
    ) -> None:
        self._engine = engine
        self._options = options
        self._should_stop = should_stop
        self._batch_size = options.batch_size
        self._is_busy = is_busy
        self._is_behind = False
        self._refused: set[str] = set()
        self._blocked: set[str] = set()
        self._waits_s = backoff()
        self._due_at: dict[Callable[..., object], float] = {}
        #: Whether another archiver was at work during a run.
        self.met_another = False

    def run(self) -> None:
        """Archive until `should_stop`; wait during an outage of the database."""
        while not self._should_stop():
            try:
                self.run_once(rests=True)
                self._waits_s = backoff()
                wait_s = INTERVAL_S
            except (DBAPIError, OSError) as error:
                _logger.warning("tasks cannot be archived: %s", one_line(error))
                self._engine.dispose()
                wait_s = next(self._waits_s)
            sleep_unless(wait_s, should_stop=self._should_stop)

    def run_once(self, *, rests: bool = False, to_end: bool = False) -> int:
        """Archive ended tasks, do the housekeeping, and return the number of tasks.

        It ends with the first batch that is less than half full. Otherwise it would not
        end while a fleet works, and use as much of the database for each few tasks that
        have ended meanwhile as for some hundred.

        Args:
            rests: Whether to rest after each batch, so that others can work.
            to_end: Whether the housekeeping walks to the end of its tables.

        Raises:
            sqlalchemy.exc.DBAPIError: The database cannot be used.
        """
        self._blocked.clear()
        total, first_at = 0, time.monotonic()
        while not self._should_stop():
            self._do_housekeeping(to_end=to_end)
            began_at = time.monotonic()
            archived, has_more = self._archive_batch()
            total += archived
            if not has_more:
                break
            if rests:
                now = time.monotonic()
                rest_s = self._rest_factor(now - first_at) * (now - began_at)
                sleep_unless(rest_s, should_stop=self._should_stop)
        return total

    def _rest_factor(self, behind_s: float) -> float:
        """Return how long to rest, as a multiple of the duration of a batch.

        Args:
            behind_s: Seconds since when ended tasks have been waiting.
        """
        was_behind, self._is_behind = self._is_behind, behind_s > MAX_BEHIND_S
        if self._is_behind and not was_behind:
            _logger.warning(
                "archiving has not caught up for %.0f minutes; "
                "figures lack the tasks that ended since then",
                behind_s / 60,
            )
        makes_way = not self._is_behind and self._is_busy()
        return BUSY_REST_FACTOR if makes_way else REST_FACTOR

    def _archive_batch(self) -> tuple[int, bool]:
        """Archive a batch. If that fails, archive single tasks until one fails.

        A batch that exceeds a limit of the server is halved. Later batches grow again.

        Returns:
            The number of tasks, and whether there may be many more.
        """
        while True:
            size = self._batch_size
            try:
                archived = self._archive(self._next_options(size))
            except Exception as error:
                if exceeded_setting(error) and size > 1:
                    self._batch_size = size // 2
                    _logger.warning(
                        "archiving %d tasks at a time: %s",
                        self._batch_size,
                        one_line(error),
                    )
                    continue
                if not self._concerns_task(error):
                    raise
                _logger.warning("archiving tasks one by one: %s", one_line(error))
                break
            self._batch_size = min(2 * size, self._options.batch_size)
            # A few tasks of a full batch may be locked.
            return archived, 2 * archived >= size
        archived = 0
        left_out = self._count_left_out()
        for _ in range(self._options.batch_size):
            archived_one = self._archive_one()
            archived += archived_one
            if not archived_one or self._count_left_out() > left_out:
                break
        return archived, archived > 0 or self._count_left_out() > left_out

    def _archive_one(self) -> int:
        """Archive one task, or leave it out.

        A task that cannot be archived is left out from now on. A task with a locked
        row is left out until the next run.
        """
        options = self._next_options(1)
        with self._engine.begin() as connection:
            # Other archivers would take the task that fails, or leave another one.
            if not lock_archive(connection):
                return 0
            id = lock_next(connection, options, datetime.now(UTC))
            if id is None:
                return 0
            try:
                with connection.begin_nested():
                    return archive_batch(connection, options)
            except Exception as error:
                if not self._concerns_task(error):
                    raise
                self._leave_out(id, error)
        return 0

    def _leave_out(self, id: str, error: Exception) -> None:
        if setting := exceeded_setting(error):
            self._blocked.add(id)
            _logger.error(
                "task %s alone exceeds %s; raise it for the role of the monitors: %s",
                log_text(id),
                setting,
                one_line(error),
            )
            return
        if isinstance(error, DBAPIError) and is_blocked(error):
            self._blocked.add(id)
            _logger.warning("task %s is locked and archived later", log_text(id))
            return
        self._refused.add(id)
        _logger.error(
            "task %s stays out of history, it cannot be archived: %s",
            log_text(id),
            one_line(error),
        )

    def _concerns_task(self, error: Exception) -> bool:
        """Return whether an error concerns one task, so that others can be archived.

        Rows that others have written may contain anything, so any error may.
        """
        is_limited = exceeded_setting(error) is not None
        if is_limited or isinstance(error, DBAPIError) and is_blocked(error):
            return len(self._blocked) < MAX_BLOCKED
        return not is_outage(error)

    def _count_left_out(self) -> int:
        return len(self._refused) + len(self._blocked)

    def _next_options(self, batch_size: int) -> ArchiveOptions:
        left_out = frozenset(self._refused | self._blocked)
        return replace(self._options, batch_size=batch_size, left_out=left_out)

    def _archive(self, options: ArchiveOptions) -> int:
        with self._engine.begin() as connection:
            return archive_batch(connection, options)

    def _do_housekeeping(self, *, to_end: bool) -> None:
        now = time.monotonic()
        for step, period_s in PERIODS_S.items():
            if now < self._due_at.get(step, now):
                continue
            began_at = time.monotonic()
            try:
                part = partial(self._do_part, step)
                take_steps(part, self._options.positions, to_end=to_end)
            except Exception as error:
                # Rows that others have written may contain anything.
                self._due_at[step] = now + min(RETRY_S, period_s)
                if isinstance(error, DBAPIError) and error.connection_invalidated:
                    raise
                _logger.warning("%s of the history: %s", step.__name__, one_line(error))
                continue
            # The archiver has ten times as long for archiving.
            ended_at = time.monotonic()
            rest_s = HOUSEKEEPING_REST * (ended_at - began_at)
            self._due_at[step] = ended_at + max(period_s, rest_s)
        if now >= self._due_at.get(drop_expired, now):
            self._due_at[drop_expired] = now + self._drop_expired()

    def _do_part(self, part: Housekeeping) -> bool:
        """Do a part of the housekeeping; return False if another archiver works."""
        with self._engine.begin() as connection:
            if not lock_archive(connection):
                self.met_another = True
                return False
            part(connection, datetime.now(UTC), self._options)
        return True

    def _drop_expired(self) -> float:
        """Drop days that are too old; return the seconds until the next search."""
        try:
            drop_expired(self._engine, self._options.retention)
        except DatabaseUnavailable as error:
            _logger.warning("old days of the history are not dropped: %s", error)
            return RETRY_S
        return DROP_PERIOD_S

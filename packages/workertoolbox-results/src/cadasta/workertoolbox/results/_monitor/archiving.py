"""Repeated archiving, in a thread of each monitor or in a command."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime

from sqlalchemy import Engine
from sqlalchemy.exc import DBAPIError

from cadasta.workertoolbox.results._database.outages import is_outage, one_line
from cadasta.workertoolbox.results._history.archiver import (
    archive_batch,
    lock_archive,
)
from cadasta.workertoolbox.results._history.ended_tasks import (
    ArchiveOptions,
    find_ended,
)
from cadasta.workertoolbox.results._history.tidying import PERIODS_S
from cadasta.workertoolbox.results._monitor.backoff import backoff, sleep_unless
from cadasta.workertoolbox.results._safe_text import log_text

_logger = logging.getLogger(__name__)

#: Seconds between two looks for tasks to be archived.
INTERVAL_S = 10.0

#: A pause after each batch, as a multiple of its duration: workers and monitors use the
#: database too.
REST_FACTOR = 1.0


class Archiving:
    """The archiver at work: batches while there are tasks, and housekeeping.

    If several processes archive, one of them works at a time.

    Args:
        should_stop: Returns whether to stop; asked after each batch and once a second.
    """

    def __init__(
        self,
        engine: Engine,
        options: ArchiveOptions,
        *,
        should_stop: Callable[[], bool],
    ) -> None:
        self._engine = engine
        self._options = options
        self._should_stop = should_stop
        self._refused: set[str] = set()
        self._waits_s = backoff()
        self._due_at: dict[Callable[..., object], float] = {}

    def run(self) -> None:
        """Archive until `should_stop`; wait during an outage of the database."""
        while not self._should_stop():
            try:
                self.run_once(rest_factor=REST_FACTOR)
                self._waits_s = backoff()
                wait_s = INTERVAL_S
            except (DBAPIError, OSError) as error:
                _logger.warning("tasks cannot be archived: %s", one_line(error))
                self._engine.dispose()
                wait_s = next(self._waits_s)
            sleep_unless(wait_s, should_stop=self._should_stop)

    def run_once(self, *, rest_factor: float = 0.0) -> int:
        """Archive all ended tasks, and do the housekeeping; return how many tasks.

        Args:
            rest_factor: Seconds to rest after each batch for each second that it took.

        Raises:
            sqlalchemy.exc.DBAPIError: The database cannot be used.
        """
        total = 0
        while not self._should_stop():
            self._do_housekeeping()
            began_at = time.monotonic()
            archived = self._archive_batch()
            total += archived
            if not archived:
                break
            rest_s = rest_factor * (time.monotonic() - began_at)
            sleep_unless(rest_s, should_stop=self._should_stop)
        return total

    def _archive_batch(self) -> int:
        try:
            return self._archive(
                replace(self._options, left_out=frozenset(self._refused))
            )
        except DBAPIError as error:
            if is_outage(error):
                raise
            _logger.warning("archiving tasks one by one: %s", one_line(error))
        archived = 0
        for _ in range(self._options.batch_size):
            refused = len(self._refused)
            archived_one = self._archive_one()
            archived += archived_one
            if not archived_one and len(self._refused) == refused:
                break
        return archived

    def _archive_one(self) -> int:
        """Archive one task; leave it out from now on if the database refuses it."""
        options = replace(
            self._options, batch_size=1, left_out=frozenset(self._refused)
        )
        try:
            return self._archive(options)
        except DBAPIError as error:
            if is_outage(error):
                raise
            with self._engine.begin() as connection:
                for refused in find_ended(connection, options, datetime.now(UTC)):
                    self._refused.add(refused.id)
                    _logger.error(
                        "task %s stays out of history, the database refuses it: %s",
                        log_text(refused.id),
                        one_line(error),
                    )
            return 0

    def _archive(self, options: ArchiveOptions) -> int:
        with self._engine.begin() as connection:
            return archive_batch(connection, options)

    def _do_housekeeping(self) -> None:
        now = time.monotonic()
        for step, period_s in PERIODS_S.items():
            if now < self._due_at.get(step, now):
                continue
            with self._engine.begin() as connection:
                if lock_archive(connection):
                    step(connection, datetime.now(UTC), self._options)
            self._due_at[step] = now + period_s

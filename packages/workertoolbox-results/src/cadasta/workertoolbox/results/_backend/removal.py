"""Forget results, and delete old ones."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from celery.backends import base
from celery.utils.log import get_logger
from sqlalchemy import case, delete, update

from cadasta.workertoolbox.results._backend.archived_results import ArchivedResults
from cadasta.workertoolbox.results._database.connection import Database
from cadasta.workertoolbox.results._database.statuses import ENDED
from cadasta.workertoolbox.results._database.tables import taskmeta
from cadasta.workertoolbox.results._history.cleanup import (
    delete_chords,
    delete_groups,
    delete_results,
    has_kept_results,
)

logger = get_logger(__name__)


class RemovalMixin(base.BaseBackend):
    """The methods by which Celery forgets results and deletes old ones."""

    database: Database
    expires: timedelta | None
    _archived: ArchivedResults
    _ensure_retryable: Callable[..., Any]

    def _forget(self, task_id: str) -> None:
        """Hide a result from `AsyncResult`; `TaskStore` still shows it."""
        result = taskmeta.c
        same = result.task_id == str(task_id)
        # An archived result stays for a while, as a copy of its message may arrive. A
        # trigger would clear the mark if the time were the same.
        archived_at = case((result.archived_at.is_not(None), datetime.now(UTC)))
        mark = (
            update(taskmeta)
            .where(same, result.status.in_(ENDED))
            .values(forgotten=True, archived_at=archived_at)
            .returning(result.date_done, result.archived_at)
        )
        # If the task has ended meanwhile, a trigger keeps the result and marks it too.
        deletion = delete(taskmeta).where(same).returning(result.date_done)
        with self.database.connect() as connection:
            marked = connection.execute(mark).first()
            if marked is not None and marked.archived_at is None:
                return
            deleted = marked or connection.execute(deletion).first()
        ended_at = None if deleted is None else deleted.date_done
        self._archived.forget(str(task_id), ended_at)

    def cleanup(self) -> None:
        """Delete rows that are older than `result_expires`, in batches.

        The age of a result counts from its latest state, and that of a chord from its
        latest change. The end of a task stays until it is archived, and the state of a
        live task until its end.
        """
        if not self.expires:
            return
        before = datetime.now(UTC) - self.expires
        for delete_some in (delete_results, delete_groups, delete_chords):
            while self._ensure_retryable(delete_some, self.database, before):
                pass
        if self._ensure_retryable(has_kept_results, self.database, before):
            logger.warning(
                "results older than result_expires stay, because they are not in the "
                "history yet; run a monitor (`celery -A … tasks monitor`), or "
                "`celery -A … tasks archive --once` from time to time"
            )

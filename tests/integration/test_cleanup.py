"""`celery.backend_cleanup` while workers store results."""

from __future__ import annotations

from contextlib import closing
from datetime import timedelta
from typing import Any

from celery import Celery
from sqlalchemy import create_engine, text

from support.brokers import result_backend_url
from support.expired_tasks import insert_expired_tasks, remaining_ids
from support.statements import fetch


def test_cleanup_skips_results_that_are_being_written(database: str) -> None:
    insert_expired_tasks(database, 3)
    fetch(database, "UPDATE celery_taskmeta SET archived_at = now()")
    with_lock_timeout = f"{database}?options=-c%20lock_timeout%3D1000"
    app = Celery(
        "cleaning", backend=result_backend_url(with_lock_timeout), set_as_current=False
    )
    backend: Any = app.backend
    backend.expires = timedelta(days=30)
    engine = create_engine(database)
    with engine.begin() as worker, closing(backend.database):
        worker.execute(
            text("UPDATE celery_taskmeta SET retries = 1 WHERE task_id = 'old-00002'")
        )
        backend.cleanup()
        kept = remaining_ids(database)["celery_taskmeta"]
        worker.rollback()
        backend.cleanup()
    engine.dispose()

    assert kept == {"old-00002"}
    assert remaining_ids(database)["celery_taskmeta"] == set()

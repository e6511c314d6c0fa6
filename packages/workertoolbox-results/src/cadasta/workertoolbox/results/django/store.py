"""The `TaskStore` of a Django process."""

from __future__ import annotations

from functools import cache

from celery import current_app

from cadasta.workertoolbox.results._database.engine import database_url, open_engine
from cadasta.workertoolbox.results._database.url import tasks_database
from cadasta.workertoolbox.results._store.store import TaskStore
from cadasta.workertoolbox.results.django.database import result_backend


def find_store() -> TaskStore:
    """Return the store of the project's tasks, without connecting to the database.

    It is that of the Celery app, or else the database that `WORKERTOOLBOX_DATABASE`
    names.

    Raises:
        InvalidURL: The database is not PostgreSQL or SQLite.
    """
    url = tasks_database(current_app.conf)
    return _open(url if url.startswith("workertoolbox+") else result_backend())


@cache
def _open(url: str) -> TaskStore:
    return TaskStore.from_engine(open_engine(database_url(url)))

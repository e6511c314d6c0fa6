"""A SQLite database with the schema, and an app whose results go there."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from celery import Celery

from cadasta.workertoolbox.results import TaskStore, upgrade
from cadasta.workertoolbox.results.backend import Backend


@pytest.fixture
def url(tmp_path: Path) -> str:
    url = f"workertoolbox+sqlite:///{tmp_path / 'results.sqlite3'}"
    upgrade(url)
    return url


@pytest.fixture
def store(url: str) -> Iterator[TaskStore]:
    with TaskStore(url) as store:
        yield store


@pytest.fixture
def app(url: str) -> Iterator[Celery]:
    app = Celery("tests", broker="memory://", backend=url, set_as_current=False)
    app.conf.result_extended = True
    assert isinstance(app.backend, Backend)
    yield app
    app.backend.database.close()
    app.close()


@pytest.fixture
def backend(app: Celery) -> Backend:
    assert isinstance(app.backend, Backend)
    return app.backend

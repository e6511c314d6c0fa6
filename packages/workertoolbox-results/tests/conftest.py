"""A SQLite database with the schema, and an app whose results go there."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from celery import Celery, _state
from hypothesis import HealthCheck, settings
from statement_cache import share_statements

from cadasta.workertoolbox.results import TaskStore, upgrade
from cadasta.workertoolbox.results.backend import Backend

# How long an example takes depends on what else the machine does.
settings.register_profile(
    "tests",
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("tests")

share_statements()


@pytest.fixture(autouse=True)
def own_tasks() -> Iterator[None]:
    """Keep the shared tasks of a test out of the apps of other tests."""
    finalizers: set[Any] = vars(_state)["_on_app_finalizers"]
    before = {*finalizers}
    yield
    finalizers &= before


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database to copy: all migrations take longer than most tests."""
    new = tmp_path_factory.mktemp("template") / "results.sqlite3"
    # `hatch run mutants` runs thousands of sessions.
    path = Path(os.environ.get("WORKERTOOLBOX_TEST_TEMPLATE", new))
    if not path.exists():
        upgrade(f"workertoolbox+sqlite:///{new}")
        shutil.move(new, path)
    return path


@pytest.fixture
def url(template: Path, tmp_path: Path) -> str:
    return f"workertoolbox+sqlite:///{shutil.copy(template, tmp_path)}"


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


@pytest.fixture
def now() -> datetime:
    """The second in which the test begins."""
    return datetime.now(UTC).replace(microsecond=0)

"""Fixtures that run the service under test.

Their scope is the test class, or the test function outside of a class.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from celery import Celery
from celery.worker import WorkController

from cadasta.workertoolbox.conf.testing._embedding import embedded, find_service
from cadasta.workertoolbox.conf.testing._monitor import running_monitor
from cadasta.workertoolbox.conf.testing._worker import running_worker
from cadasta.workertoolbox.results import Monitor, TaskStore

#: The option in the configuration of pytest that names the app.
OPTION = "toolbox_service"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option that names the app to the configuration of pytest."""
    parser.addini(OPTION, "the app to test, as for `celery -A`: proj.app:app")


@pytest.fixture(scope="session")
def toolbox_service(pytestconfig: pytest.Config) -> Celery | str:
    """The app of the service, or its name; override it if the option is not enough.

    Raises:
        pytest.UsageError: The option is not set.
    """
    name: str = pytestconfig.getini(OPTION)
    if not name:
        raise pytest.UsageError(
            f"the service to test is not set; write {OPTION} = proj.app:app in the "
            f"configuration of pytest, or define a fixture {OPTION}, which returns the "
            "app"
        )
    return name


@pytest.fixture(scope="session")
def toolbox_settings() -> dict[str, Any]:
    """Settings of the app in the tests: none, unless you override the fixture.

    To use a real broker, return its `broker_url` and `broker_transport_options`.
    """
    return {}


@pytest.fixture(scope="session")
def toolbox_worker_options() -> dict[str, Any]:
    """Arguments of `running_worker`: none, unless you override the fixture."""
    return {}


@pytest.fixture(scope="class")
def toolbox_app(
    toolbox_service: Celery | str,
    toolbox_settings: dict[str, Any],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Celery]:
    """The app of the service, with a new broker and a new database."""
    app = find_service(toolbox_service)
    folder = tmp_path_factory.mktemp("toolbox")
    with embedded(app, folder, **toolbox_settings):
        yield app


@pytest.fixture(scope="class")
def toolbox_worker(
    toolbox_app: Celery, toolbox_worker_options: dict[str, Any]
) -> Iterator[WorkController]:
    """A worker for all work queues, in a thread."""
    with running_worker(toolbox_app, **toolbox_worker_options) as worker:
        yield worker


@pytest.fixture(scope="class")
def toolbox_monitor(toolbox_app: Celery) -> Iterator[Monitor]:
    """A monitor, in a thread."""
    with running_monitor(toolbox_app) as monitor:
        yield monitor


@pytest.fixture(scope="class")
def toolbox_store(toolbox_app: Celery) -> Iterator[TaskStore]:
    """A `TaskStore` of the app's database."""
    with TaskStore.for_app(toolbox_app) as store:
        yield store

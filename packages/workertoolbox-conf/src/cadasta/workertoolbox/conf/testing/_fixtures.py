"""A service under test, in fixtures.

They live as long as a class of tests, and outside a class as long as one test.
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

#: The option of pytest's configuration that names the app.
OPTION = "toolbox_service"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Have pytest's configuration name the app."""
    parser.addini(OPTION, "the app to test, as `celery -A` has it: proj.app:app")


@pytest.fixture(scope="session")
def toolbox_service(pytestconfig: pytest.Config) -> Celery | str:
    """The service's app, or its name; override it where the option will not do.

    Raises:
        pytest.UsageError: The option is not set.
    """
    name: str = pytestconfig.getini(OPTION)
    if not name:
        raise pytest.UsageError(
            f"no service is named; write {OPTION} = proj.app:app in the configuration "
            f"of pytest, or a fixture {OPTION} that returns the app"
        )
    return name


@pytest.fixture(scope="session")
def toolbox_settings() -> dict[str, Any]:
    """Settings that hold in the tests; override it to have some.

    Broker and database need not be in a folder: `broker_url` goes with its
    `broker_transport_options`.
    """
    return {}


@pytest.fixture(scope="session")
def toolbox_worker_options() -> dict[str, Any]:
    """Keywords to `running_worker`; override it to have some."""
    return {}


@pytest.fixture(scope="class")
def toolbox_app(
    toolbox_service: Celery | str,
    toolbox_settings: dict[str, Any],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Celery]:
    """The service's own app, with a broker and a database that nobody used before."""
    app = find_service(toolbox_service)
    folder = tmp_path_factory.mktemp("toolbox")
    with embedded(app, folder, **toolbox_settings):
        yield app


@pytest.fixture(scope="class")
def toolbox_worker(
    toolbox_app: Celery, toolbox_worker_options: dict[str, Any]
) -> Iterator[WorkController]:
    """A worker of every work queue, in a thread."""
    with running_worker(toolbox_app, **toolbox_worker_options) as worker:
        yield worker


@pytest.fixture(scope="class")
def toolbox_monitor(toolbox_app: Celery) -> Iterator[Monitor]:
    """A monitor, in a thread."""
    with running_monitor(toolbox_app) as monitor:
        yield monitor


@pytest.fixture(scope="class")
def toolbox_store(toolbox_app: Celery) -> Iterator[TaskStore]:
    """The database, for questions about tasks."""
    with TaskStore.for_app(toolbox_app) as store:
        yield store

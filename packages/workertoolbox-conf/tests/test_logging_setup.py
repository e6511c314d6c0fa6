from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
import sentry_sdk
from celery import Celery
from celery.app.task import Task

from cadasta.workertoolbox.conf import Config
from cadasta.workertoolbox.conf._logging import setup
from cadasta.workertoolbox.conf._logging.requests import Request

CELERY_REQUEST = Task.Request
OUR_REQUEST = f"{Request.__module__}:{Request.__name__}"


@pytest.fixture
def own_sentry() -> Iterator[None]:
    """Initialize Sentry's SDK as a service does, without a server."""
    with sentry_sdk.new_scope() as scope:
        scope.set_client(sentry_sdk.Client(default_integrations=False))
        yield


def plain_app() -> Celery:
    return Celery("other", set_as_current=False)


def configured_app(**settings: Any) -> Celery:
    app = Celery("export", set_as_current=False)
    app.config_from_object(Config(["export"], **settings))
    return app


def request_after_start(app: Celery) -> str:
    """Return the request class of a task when the worker of the app has started."""
    setup._on_worker_init(SimpleNamespace(app=app))
    request: str = app.tasks["celery.backend_cleanup"].Request
    return request


@pytest.mark.usefixtures("own_sentry")
def test_a_service_with_its_own_sentry_gets_ids_in_the_main_process() -> None:
    assert request_after_start(configured_app()) == OUR_REQUEST


def test_an_app_without_a_log_format_or_sentry_keeps_the_request_of_celery() -> None:
    assert request_after_start(configured_app()) == CELERY_REQUEST


@pytest.mark.usefixtures("own_sentry")
def test_an_app_that_turns_sentry_off_keeps_the_request_of_celery() -> None:
    assert request_after_start(configured_app(SENTRY=False)) == CELERY_REQUEST


@pytest.mark.usefixtures("own_sentry")
def test_an_app_without_the_toolbox_keeps_the_request_of_celery() -> None:
    assert request_after_start(plain_app()) == CELERY_REQUEST


@pytest.mark.parametrize("start", [setup._on_worker_init, setup._on_beat_init])
def test_settings_of_an_app_without_the_toolbox_are_its_own(start: Any) -> None:
    app = plain_app()
    app.conf.LOG_FORMAT = "%(message)s"

    start(SimpleNamespace(app=app))

"""Which apps store the tasks that a purge removes."""

from __future__ import annotations

import pytest
from celery import Celery

from cadasta.workertoolbox.routing import Routing
from cadasta.workertoolbox.routing.transports._purging import _stores_results


@pytest.mark.parametrize("settings", [{}, {"result_backend": "disabled://"}])
def test_an_app_without_result_backend_stores_no_purged_tasks(
    settings: dict[str, str],
) -> None:
    app = Celery("tests", set_as_current=False)
    app.config_from_object(Routing(["export"], broker_url="memory://", **settings))

    assert not _stores_results(app)


@pytest.mark.parametrize("backend", ["redis://localhost/1", "cache+memory://"])
def test_an_app_with_a_result_backend_stores_purged_tasks(backend: str) -> None:
    named = Celery("tests", backend=backend, set_as_current=False)
    named.config_from_object(Routing(["export"], broker_url="memory://"))
    configured = Celery("tests", set_as_current=False)
    configured.config_from_object(
        Routing(["export"], broker_url="memory://", result_backend=backend)
    )

    assert _stores_results(named)
    assert _stores_results(configured)

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from celery import Celery, chain, chord, group

from cadasta.workertoolbox.routing import NoResultBackend, Routing


@pytest.fixture
def app() -> Iterator[Celery]:
    app = Celery("tests", set_as_current=False)
    app.config_from_object(Routing(["export"], broker_url="memory://"))
    yield app
    app.close()


@pytest.mark.parametrize(
    "start",
    [
        lambda tasks, task: chord(tasks, task, app=task.app)(),
        lambda tasks, task: chain(tasks, task, app=task.app).delay(),
        lambda tasks, task: (task | tasks | task).apply_async(),
        lambda tasks, task: task.delay().get(timeout=1),
        lambda tasks, task: task.delay().status,
    ],
    ids=["chord", "chain", "group in a chain", "result", "status"],
)
def test_what_needs_a_result_backend_is_refused_with_advice(
    app: Celery, start: Callable[[Any, Any], Any]
) -> None:
    task = app.signature("export.project", immutable=True)

    with pytest.raises(NoResultBackend, match="install workertoolbox-results and set"):
        start(group([task, task], app=app), task)


def test_chains_and_groups_need_no_result_backend(app: Celery) -> None:
    task = app.signature("export.project", immutable=True)
    chain(task, group([task, task], app=app), app=app).delay()
    group([task, task], app=app).delay()


def test_another_backend_can_be_set(app: Celery) -> None:
    app.conf.update(result_backend="cache+memory://")

    assert app.send_task("export.project").status == "PENDING"

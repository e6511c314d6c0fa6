from __future__ import annotations

from typing import Any

import pytest
from celery import Celery, Task

from cadasta.workertoolbox.conf import extract_followups


def nothing(*_: object) -> None:
    pass


@pytest.fixture
def task() -> Task[..., Any]:
    """A running task."""
    app = Celery("export", set_as_current=False)
    task = app.task(name="export.project", bind=True, shared=False)(nothing)
    task.push_request(
        id="1", callbacks=[{"task": "msg.notify"}], errbacks=[{"task": "msg.failed"}]
    )
    return task


def test_callbacks_become_options_for_another_task(task: Task[..., Any]) -> None:
    assert extract_followups(task) == {
        "link": [{"task": "msg.notify"}],
        "link_error": [{"task": "msg.failed"}],
    }


def test_the_task_keeps_only_its_error_callbacks(
    task: Task[..., Any],
) -> None:
    extract_followups(task)

    assert task.request.callbacks is None
    assert task.request.errbacks == [{"task": "msg.failed"}]
    assert extract_followups(task)["link"] is None

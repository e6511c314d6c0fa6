"""The columns that a worker stores besides the state of a task."""

from __future__ import annotations

from celery import Celery, states
from celery.app.task import Context

from cadasta.workertoolbox.results import TaskStore
from cadasta.workertoolbox.results.backend import Backend

REQUEST = Context(
    id="1",
    task="export.project",
    args=["a"],
    kwargs={"b": 1},
    hostname="worker@host",
    retries=1,
    delivery_info={"routing_key": "export"},
    root_id="0",
    parent_id="0",
    group="g",
)


def test_an_untracked_result_has_the_columns_of_its_request(
    backend: Backend, store: TaskStore
) -> None:
    backend.store_result("1", 42, states.SUCCESS, request=REQUEST)
    task = store.get("1")

    assert not task.tracked
    assert (task.name, task.args, task.kwargs) == ("export.project", ["a"], {"b": 1})
    assert (task.root_id, task.parent_id, task.group_id) == ("0", "0", "g")
    assert (task.queue, task.worker, task.retries) == ("export", "worker@host", 1)


def test_the_name_stays_when_a_state_without_a_request_is_stored(
    backend: Backend, store: TaskStore
) -> None:
    backend.store_result("1", {}, states.STARTED, request=REQUEST)
    backend.store_result("1", "terminated", states.REVOKED)

    assert store.get("1").name == "export.project"


def test_the_queue_of_a_message_that_rabbitmq_delayed_is_the_work_queue(
    backend: Backend, store: TaskStore
) -> None:
    delayed = Context(id="1", delivery_info={"routing_key": f"{'0.' * 28}export"})
    backend.store_result("1", 42, states.SUCCESS, request=delayed)

    assert store.get("1").queue == "export"


def test_names_longer_than_celerys_columns_are_truncated(
    backend: Backend, store: TaskStore
) -> None:
    request = Context(id="1", task="x" * 200, hostname="y" * 200)
    backend.store_result("1", 42, states.SUCCESS, request=request)

    assert store.get("1").name == "x" * 155


def test_children_and_stamps_are_returned(app: Celery, backend: Backend) -> None:
    request = Context(
        id="1",
        _children=[app.AsyncResult("child")],
        stamped_headers=["by"],
        stamps={"by": "me"},
    )
    backend.store_result("1", 42, states.SUCCESS, request=request)
    meta = backend.get_task_meta("1")

    assert [str(child) for child in app.AsyncResult("1").children or ()] == ["child"]
    assert (meta["stamped_headers"], meta["by"]) == (["by"], "me")

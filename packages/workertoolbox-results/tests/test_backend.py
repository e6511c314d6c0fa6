from __future__ import annotations

import os
import pickle
from collections.abc import Iterator
from datetime import UTC, datetime
from threading import Thread
from typing import Any

import pytest
from celery import Celery, Signature, chord, states
from celery.app.task import Context
from celery.exceptions import ImproperlyConfigured, NotRegistered
from celery.signals import before_task_publish
from celery.utils.objects import Bunch
from kombu.exceptions import EncodeError
from sqlalchemy import insert

from cadasta.workertoolbox.results import PickledResult, TaskStore
from cadasta.workertoolbox.results._database.tables import taskmeta
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

NOON = datetime(2026, 1, 2, 12, tzinfo=UTC)

CIRCLE: list[Any] = []
CIRCLE.append(CIRCLE)


def test_celery_finds_the_backend_by_its_url(app: Celery) -> None:
    assert type(app.backend).__module__ == "cadasta.workertoolbox.results.backend"


def test_a_result_comes_back(app: Celery, backend: Backend) -> None:
    backend.store_result("1", {"answer": [42, None, "é"]}, states.SUCCESS)
    result = app.AsyncResult("1")

    assert result.state == states.SUCCESS
    assert result.get(timeout=1) == {"answer": [42, None, "é"]}


def test_an_unknown_task_is_pending(app: Celery, backend: Backend) -> None:
    assert app.AsyncResult("never").state == states.PENDING
    assert not backend.task_result_exists("never")


def test_an_exception_comes_back_with_its_arguments(
    app: Celery, backend: Backend
) -> None:
    backend.mark_as_failure("1", KeyError("nope"), traceback="Traceback \0…")
    result = app.AsyncResult("1")

    assert result.state == states.FAILURE
    assert isinstance(result.result, KeyError)
    assert result.result.args == ("nope",)
    assert str(result.traceback) == r"Traceback \x00…"


def test_the_first_success_stays(app: Celery, backend: Backend) -> None:
    backend.store_result("1", "first", states.SUCCESS)
    backend.store_result("1", {}, states.STARTED)
    backend.store_result("1", "second", states.SUCCESS)

    assert app.AsyncResult("1").get(timeout=1) == "first"


def test_the_start_is_kept_when_the_end_is_stored(
    backend: Backend, store: TaskStore
) -> None:
    backend.store_result("1", {"pid": 1}, states.STARTED, request=REQUEST)
    backend.get_state("1")  # It is written, at the latest, when somebody looks.
    started = store.get("1")
    backend.store_result("1", 42, states.SUCCESS, request=REQUEST)
    done = store.get("1")

    assert started.started_at is not None
    assert (started.finished_at, started.result) == (None, None)
    assert done.started_at == started.started_at
    assert done.run_s is not None and done.run_s >= 0


def test_a_result_without_a_task_row_is_untracked_but_described(
    backend: Backend, store: TaskStore
) -> None:
    backend.store_result("1", 42, states.SUCCESS, request=REQUEST)
    task = store.get("1")

    assert not task.tracked
    assert (task.name, task.args, task.kwargs) == ("export.project", ["a"], {"b": 1})
    assert (task.root_id, task.parent_id, task.group_id) == ("0", "0", "g")
    assert (task.queue, task.worker, task.retries) == ("export", "worker@host", 1)


def test_what_only_the_request_knew_outlives_a_state_without_one(
    backend: Backend, store: TaskStore
) -> None:
    backend.store_result("1", {}, states.STARTED, request=REQUEST)
    backend.store_result("1", "terminated", states.REVOKED)

    assert store.get("1").name == "export.project"


def test_a_task_that_a_worker_does_not_know_is_stored_as_failed(
    app: Celery, backend: Backend
) -> None:
    # What the worker has instead of a request.
    request = Bunch(name="typo", chord=None, root_id="0", errbacks=None)
    backend.mark_as_failure("1", NotRegistered("typo"), request=request)

    assert app.AsyncResult("1").state == states.FAILURE


def test_celerys_own_backend_reads_what_ours_wrote(backend: Backend, url: str) -> None:
    backend.store_result("1", [1, 2], states.SUCCESS, request=REQUEST)
    plain = Celery("plain", broker="memory://", backend=f"db+{url.partition('+')[2]}")
    plain.conf.result_extended = True
    meta = plain.backend.get_task_meta("1")

    assert (meta["status"], meta["result"], meta["name"]) == (
        states.SUCCESS,
        [1, 2],
        "export.project",
    )


IGNORED = Context(id="1", task="export.project", ignore_result=True)


def test_a_task_that_ignores_its_result_still_leaves_its_end(
    backend: Backend, store: TaskStore
) -> None:
    backend.mark_as_done("1", {"secret": 1}, request=IGNORED, store_result=False)
    task = store.get("1")

    assert (task.status, task.result) == ("SUCCESS", None)


def test_a_task_that_ignores_its_result_still_leaves_its_failure(
    backend: Backend, store: TaskStore
) -> None:
    error = ValueError("no way")
    backend.mark_as_failure("1", error, request=IGNORED, store_result=False)
    task = store.get("1")

    assert task.status == "FAILURE"
    assert task.result["exc_message"] == ["no way"]


def test_the_queue_is_that_of_the_message_though_rabbitmq_has_delayed_it(
    backend: Backend, store: TaskStore
) -> None:
    delayed = Context(id="1", delivery_info={"routing_key": f"{'0.' * 28}export"})
    backend.store_result("1", 42, states.SUCCESS, request=delayed)

    assert store.get("1").queue == "export"


def test_names_longer_than_celerys_columns_are_cut(
    backend: Backend, store: TaskStore
) -> None:
    request = Context(id="1", task="x" * 200, hostname="y" * 200)
    backend.store_result("1", 42, states.SUCCESS, request=request)

    assert store.get("1").name == "x" * 155


def test_the_threads_of_a_process_share_one_connection(app: Celery) -> None:
    databases: list[Any] = []

    def look() -> None:
        assert isinstance(app.backend, Backend)
        databases.append(app.backend.database)

    threads = [Thread(target=look) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(databases) == 4
    assert len(set(databases)) == 1


@pytest.mark.parametrize(
    ("result", "shown"),
    [
        (float("nan"), "NaN"),
        ({"a": float("-inf")}, {"a": "-Infinity"}),
        ("a\0b", r"a\x00b"),
        ("\ud800", r"\ud800"),
        ("a string", "a string"),
    ],
)
def test_any_result_of_celerys_json_is_shown(
    backend: Backend, store: TaskStore, result: Any, shown: Any
) -> None:
    backend.store_result("1", result, states.SUCCESS)

    assert store.get("1").result == shown


def test_a_group_is_saved_and_restored(app: Celery) -> None:
    group = app.GroupResult("g", [app.AsyncResult("1"), app.AsyncResult("2")])
    group.save()
    group.save()
    restored = app.GroupResult.restore("g")

    assert restored == group
    restored.delete()
    assert app.GroupResult.restore("g") is None


def test_a_forgotten_result_is_gone(app: Celery, backend: Backend) -> None:
    backend.store_result("1", 42, states.SUCCESS)
    app.AsyncResult("1").forget()

    assert not backend.task_result_exists("1")


def test_children_and_stamps_come_back(app: Celery, backend: Backend) -> None:
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


@pytest.mark.parametrize(
    "value", [[1, "é", None, {"a": [True, 1.5]}], NOON, {"at": [NOON]}, b"bytes"]
)
def test_a_value_comes_back_as_kombu_would_have_it(
    app: Celery, backend: Backend, value: Any
) -> None:
    backend.store_result("1", value, states.SUCCESS)

    assert app.AsyncResult("1").get(timeout=1) == value


@pytest.mark.parametrize("value", [CIRCLE, object()], ids=["circle", "object"])
def test_a_value_that_is_no_json_is_the_same_error_as_ever(
    backend: Backend, value: Any
) -> None:
    with pytest.raises(EncodeError):
        backend.store_result("1", value, states.SUCCESS)


def test_a_pickled_result_is_refused_not_read(app: Celery, backend: Backend) -> None:
    with backend.database.engine.begin() as connection:
        row: dict[str, Any] = {
            "task_id": "1",
            "status": "SUCCESS",
            "result": pickle.dumps(42),
        }
        connection.execute(insert(taskmeta).values(row))

    with pytest.raises(PickledResult, match="pickle"):
        app.AsyncResult("1").get(timeout=1)


def test_another_serializer_than_json_is_refused(url: str) -> None:
    app = Celery("tests", broker="memory://", backend=url, set_as_current=False)
    app.conf.result_serializer = "pickle"

    with pytest.raises(ImproperlyConfigured, match="JSON only"):
        _ = app.backend


def test_a_backend_survives_pickling(app: Celery, backend: Backend) -> None:
    app.set_current()
    backend.store_result("1", 42, states.SUCCESS)
    copy = pickle.loads(pickle.dumps(backend))

    assert copy.get_task_meta("1")["result"] == 42
    copy.database.close()


def driver_connection(backend: Backend) -> object:
    with backend.database.connect() as connection:
        return connection.connection.dbapi_connection


def test_a_forked_child_opens_a_connection_of_its_own(backend: Backend) -> None:
    backend.store_result("parent", 1, states.SUCCESS)
    inherited = driver_connection(backend)
    child = os.fork()
    if child == 0:  # pragma: no cover
        backend.store_result("child", 2, states.SUCCESS)
        os._exit(0 if driver_connection(backend) is not inherited else 1)
    _, status = os.waitpid(child, 0)

    assert os.waitstatus_to_exitcode(status) == 0
    assert driver_connection(backend) is inherited
    assert backend.get_task_meta("child")["result"] == 2


def test_settings_of_retries_that_are_none_are_the_defaults(url: str) -> None:
    app = Celery("tests", broker="memory://", backend=url, set_as_current=False)
    app.conf.result_backend_always_retry = None
    app.conf.result_backend_max_retries = None
    backend: Any = app.backend

    assert (backend.always_retry, backend.max_retries) == (True, 10)


def test_a_generator_of_a_header_is_published_as_it_goes(
    app: Celery, backend: Backend
) -> None:
    published: list[str] = []
    asked: list[int] = []

    def note(sender: str, **_: Any) -> None:
        published.append(sender)

    def header() -> Iterator[Signature[Any]]:
        for number in range(5):
            asked.append(len(published))
            yield app.signature("export.project", (number,))

    before_task_publish.connect(note)
    chord(header(), app.signature("export.collect"), app=app)()
    before_task_publish.disconnect(note)

    assert len(published) == 5
    assert asked[-1] > 0

"""The methods that Celery calls on a result backend."""

from __future__ import annotations

import os
import pickle
from datetime import UTC, datetime
from statistics import mean
from threading import Thread
from typing import Any

import pytest
from celery import Celery, states
from celery.app.task import Context
from celery.exceptions import ImproperlyConfigured, NotRegistered
from celery.utils.objects import Bunch
from kombu.exceptions import EncodeError

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

NOON = datetime(2026, 1, 2, 12, tzinfo=UTC)

CIRCLE: list[Any] = []
CIRCLE.append(CIRCLE)


def test_celery_finds_the_backend_by_its_url(app: Celery) -> None:
    assert type(app.backend).__module__ == "cadasta.workertoolbox.results.backend"


def test_a_stored_result_is_returned(app: Celery, backend: Backend) -> None:
    backend.store_result("1", {"answer": [42, None, "é"]}, states.SUCCESS)
    result = app.AsyncResult("1")

    assert result.state == states.SUCCESS
    assert result.get(timeout=1) == {"answer": [42, None, "é"]}


def test_an_unknown_task_is_pending(app: Celery, backend: Backend) -> None:
    assert app.AsyncResult("never").state == states.PENDING
    assert not backend.task_result_exists("never")


def test_a_stored_exception_is_returned_with_its_arguments(
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
    backend.get_state("1")  # Reading a state writes a start that is not written yet.
    started = store.get("1")
    backend.store_result("1", 42, states.SUCCESS, request=REQUEST)
    done = store.get("1")

    assert started.started_at is not None
    assert (started.finished_at, started.result) == (None, None)
    assert done.started_at == started.started_at
    assert done.run_s is not None and done.run_s >= 0


def test_a_task_that_a_worker_does_not_know_is_stored_as_failed(
    app: Celery, backend: Backend
) -> None:
    # A worker passes such an object instead of a request.
    request = Bunch(name="typo", chord=None, root_id="0", errbacks=None)
    backend.note_worker("a@host")
    backend.mark_as_failure("1", NotRegistered("typo"), request=request)
    result = app.AsyncResult("1")

    assert (result.state, result.worker) == (states.FAILURE, "a@host")


def test_celerys_own_backend_reads_our_results(backend: Backend, url: str) -> None:
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


def test_the_success_of_a_task_that_ignores_its_result_is_stored_without_the_value(
    backend: Backend, store: TaskStore
) -> None:
    backend.mark_as_done("1", {"secret": 1}, request=IGNORED, store_result=False)
    task = store.get("1")

    assert (task.status, task.result) == ("SUCCESS", None)


def test_the_failure_of_a_task_that_ignores_its_result_is_stored(
    backend: Backend, store: TaskStore
) -> None:
    error = ValueError("no way")
    backend.mark_as_failure("1", error, request=IGNORED, store_result=False)
    task = store.get("1")

    assert task.status == "FAILURE"
    assert task.result["exc_message"] == ["no way"]


def test_the_threads_of_a_process_share_one_connection(app: Celery) -> None:
    databases: list[Any] = []

    def add_database() -> None:
        assert isinstance(app.backend, Backend)
        databases.append(app.backend.database)

    threads = [Thread(target=add_database) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(databases) == 4
    assert len(set(databases)) == 1


def test_a_forgotten_result_is_gone(app: Celery, backend: Backend) -> None:
    backend.store_result("1", 42, states.SUCCESS)
    app.AsyncResult("1").forget()

    assert not backend.task_result_exists("1")


@pytest.mark.parametrize(
    "value", [[1, "é", None, {"a": [True, 1.5]}], NOON, {"at": [NOON]}, b"bytes"]
)
def test_a_value_of_a_type_that_kombu_encodes_is_returned(
    app: Celery, backend: Backend, value: Any
) -> None:
    backend.store_result("1", value, states.SUCCESS)

    assert app.AsyncResult("1").get(timeout=1) == value


@pytest.mark.parametrize("value", [CIRCLE, object()], ids=["circle", "object"])
def test_a_value_that_cannot_be_encoded_is_an_encode_error(
    backend: Backend, value: Any
) -> None:
    with pytest.raises(EncodeError):
        backend.store_result("1", value, states.SUCCESS)


def test_a_serializer_other_than_json_is_refused(url: str) -> None:
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


def test_retry_settings_that_are_none_use_the_defaults(url: str) -> None:
    app = Celery("tests", broker="memory://", backend=url, set_as_current=False)
    app.conf.result_backend_always_retry = None
    app.conf.result_backend_max_retries = None
    app.conf.result_backend_max_sleep_between_retries_ms = None
    backend: Any = app.backend

    assert (backend.always_retry, backend.max_retries) == (True, 16)
    assert backend.max_sleep_between_retries_ms == 2000


def test_the_pauses_between_retries_are_short_and_last_ten_seconds_on_average(
    backend: Backend,
) -> None:
    retries = range(1, int(backend.max_retries) + 1)
    pauses_s = [[backend._sleep_s(retry) for retry in retries] for _ in range(100)]

    assert max(map(max, pauses_s)) <= 2
    assert 8 <= mean(map(sum, pauses_s)) <= 12

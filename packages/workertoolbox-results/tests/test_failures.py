"""The groups that workers store with failures and retries."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from typing import Any

import pytest
from billiard.exceptions import WorkerLostError
from celery import Celery, states
from celery.app.task import Context
from celery.app.trace import build_tracer
from celery.exceptions import NotRegistered, TaskRevokedError
from celery.utils.objects import Bunch
from sqlalchemy import select

from cadasta.workertoolbox.results._backend import own_keys
from cadasta.workertoolbox.results._database.tables import taskmeta
from cadasta.workertoolbox.results.backend import Backend


class Declined(Exception):
    """An error that a service raises, which cannot be pickled."""

    def __init__(self, *, key: Any = None) -> None:
        super().__init__("declined")
        self.error_group = key


def group_of(error: BaseException, name: str) -> str | None:
    return f"{name} {error}" if isinstance(error, OSError) else None


@pytest.fixture
def run(app: Celery, backend: Backend) -> Callable[..., dict[str, Any]]:
    """Run a function as a task in this thread, as a worker does; return its row."""

    def run_once(
        function: Callable[..., Any], *, id: str = "1", **request: Any
    ) -> dict[str, Any]:
        name = request.get("task", "export.fetch")
        app.tasks.pop(name, None)
        options = {"name": name, "bind": True, "max_retries": 1, "shared": False}
        make_task: Any = app.task
        task = make_task(function, lazy=False, **options)
        context = {"id": id, "task": name, "hostname": "worker@host", **request}
        delivery = {"routing_key": "export", "is_eager": False}
        trace = build_tracer(task.name, task, app=app)
        trace(
            *(id, [], {}),
            {"delivery_info": delivery, "kwargs": {}, **context},
        )
        return row_of(backend, id)

    return run_once


def row_of(backend: Backend, id: str) -> dict[str, Any]:
    with backend.database.engine.connect() as connection:
        query = select(taskmeta).where(taskmeta.c.task_id == id)
        row = dict(connection.execute(query).mappings().one())
    return {**row, "result": json.loads(row["result"])}


def refuse() -> None:
    raise ValueError("no")


def fail(task: Any) -> None:
    refuse()


def succeed(task: Any) -> None:
    pass


def decline(task: Any) -> None:
    raise Declined


def retry(task: Any) -> None:
    try:
        refuse()
    except ValueError as error:
        raise task.retry(exc=error) from error


def retry_declined(task: Any) -> None:
    try:
        raise Declined from OSError("disk")
    except Declined as error:
        raise task.retry(exc=error)  # noqa: B904


def retry_without_reason(task: Any) -> None:
    try:
        refuse()
    except ValueError:
        raise task.retry()  # noqa: B904


def test_a_failure_has_a_group_and_a_place(run: Any) -> None:
    row = run(fail)

    assert row["status"] == states.FAILURE
    assert row["error_group"] is not None
    assert row["error_group"] == run(fail, id="2")["error_group"]
    assert row["result"] == {
        "exc_type": "ValueError",
        "exc_module": "builtins",
        "exc_place": f"{__name__}.refuse",
        "exc_message": ["no"],
    }


def test_a_success_has_no_group(run: Any) -> None:
    assert run(succeed)["error_group"] is None


@pytest.mark.parametrize("function", [retry, retry_declined])
def test_a_retry_and_the_failure_after_it_have_the_same_group(
    run: Any, function: Any
) -> None:
    retried = run(function)
    failed = run(function, retries=1)

    assert (retried["status"], failed["status"]) == (states.RETRY, states.FAILURE)
    assert retried["error_group"] == failed["error_group"]
    assert failed["attempts"][0]["error_group"] == retried["error_group"]


def test_a_success_after_a_retry_has_no_group(run: Any) -> None:
    retried = run(retry)
    succeeded = run(succeed, retries=1)

    assert retried["error_group"] is not None
    assert succeeded["error_group"] is None
    assert succeeded["attempts"][0]["error_group"] == retried["error_group"]


def test_a_retry_without_a_reason_has_the_group_of_the_handled_error(run: Any) -> None:
    row = run(retry_without_reason)

    assert row["result"]["exc_type"] == "ValueError"
    assert row["result"]["exc_place"] == f"{__name__}.refuse"
    assert row["error_group"] is not None


def test_a_retry_without_an_error_has_no_group(run: Any) -> None:
    def wait(task: Any) -> None:
        raise task.retry()

    row = run(wait)

    assert (row["status"], row["result"]) == (states.RETRY, None)
    assert row["error_group"] is None


def test_an_error_that_cannot_be_pickled_has_the_place_where_it_was_raised(
    run: Any,
) -> None:
    assert run(decline)["result"]["exc_place"] == f"{__name__}.decline"


@pytest.mark.parametrize("key", ["card", lambda: "card"], ids=["text", "function"])
def test_an_exception_names_its_group(run: Any, key: Any) -> None:
    def decline_here(task: Any) -> None:
        raise Declined(key=key)

    def decline_there(task: Any) -> None:
        raise Declined(key="card")

    first = run(decline_here, task="export.here")
    second = run(decline_there, id="2", task="export.there")

    assert first["error_group"] == second["error_group"]
    assert first["error_group"] != run(decline, id="3")["error_group"]


@pytest.mark.parametrize("setting", [group_of, f"{__name__}.group_of"], ids=type)
def test_a_function_in_the_settings_names_the_group(
    run: Any, app: Celery, setting: Any
) -> None:
    app.conf.ERROR_GROUP = setting

    def lose(task: Any) -> None:
        raise OSError("lost")

    def lose_again(task: Any) -> None:
        raise OSError("lost")

    first = run(lose)["error_group"]

    assert first == run(lose_again, id="2")["error_group"]
    assert first != run(lose, id="3", task="export.bundle")["error_group"]
    assert run(fail, id="4")["error_group"] == run(fail, id="5")["error_group"]


def fail_secretly(*_: Any) -> str:
    raise RuntimeError("s3cret")


@pytest.mark.parametrize(
    ("setting", "problem"),
    [
        (fail_secretly, "failed with RuntimeError in"),
        (lambda error, name: 5, "gave int, not a text"),
        (lambda error, name: "", "gave str, not a text"),
        (lambda error: "key", "failed with TypeError in"),
        ("export.nowhere.group", "cannot be imported: ModuleNotFoundError"),
    ],
)
def test_a_function_that_fails_is_logged_once_and_ignored(
    run: Any,
    app: Celery,
    backend: Backend,
    caplog: pytest.LogCaptureFixture,
    setting: Any,
    problem: str,
) -> None:
    own_keys._log.cache_clear()
    expected = run(fail)["error_group"]
    app.conf.ERROR_GROUP = setting
    backend._own_keys = own_keys.OwnKeys(app)
    with caplog.at_level(logging.ERROR, own_keys.__name__):
        groups = {run(fail, id=id)["error_group"] for id in "234"}
    logged = [each.message for each in caplog.records if each.name == own_keys.__name__]

    assert groups == {expected}
    assert len(logged) == 1
    assert logged[0].startswith("ERROR_GROUP ") and problem in logged[0]
    assert "s3cret" not in logged[0]


def test_an_attribute_that_fails_is_logged_by_its_class(
    run: Any, caplog: pytest.LogCaptureFixture
) -> None:
    own_keys._log.cache_clear()

    def decline_secretly(task: Any) -> None:
        raise Declined(key=fail_secretly)

    row = run(decline_secretly)

    assert row["error_group"] is not None
    assert "error_group of Declined failed with RuntimeError" in caplog.text


REQUEST = {"id": "1", "task": "export.fetch", "kwargs": {}, "delivery_info": {}}


def store_failure(backend: Backend, error: BaseException, **request: Any) -> str:
    """Store a failure as a worker's main process does, without a traceback."""
    context = Context({**REQUEST, "hostname": "worker@host", "args": [], **request})
    backend.mark_as_failure("1", error, request=context)  # type: ignore[arg-type]
    group: str = row_of(backend, "1")["error_group"]
    return group


def test_a_killed_task_has_the_group_of_its_name_and_message(backend: Backend) -> None:
    def lost(signal: int, job: int, task: str) -> str:
        text = f"Worker exited prematurely: signal {signal} (SIGKILL) Job: {job}."
        return store_failure(backend, WorkerLostError(text), task=task)

    first = lost(9, 1, "export.fetch")

    assert first == lost(9, 23, "export.fetch")
    assert first != lost(9, 1, "export.bundle")


@pytest.mark.parametrize(
    "request_",
    [{"kwargs": {"password": "%s"}}, {"kwargs": {}, "args": ["password=%s"]}],
    ids=["argument", "text"],
)
@pytest.mark.parametrize("kind", ["message", "key"])
def test_a_group_contains_no_secret(
    backend: Backend, request_: dict[str, Any], kind: str
) -> None:
    def group(secret: str) -> str:
        error: Any = RuntimeError(f"{secret} was refused")
        if kind == "key":
            error.error_group = f"{secret} was refused"
        request = json.loads(json.dumps(request_).replace("%s", secret))
        return store_failure(backend, error, **request)

    assert group("hunter-of-words") == group("correct-horse")


def test_a_named_secret_is_left_out_of_a_key(backend: Backend) -> None:
    def group(secret: str) -> str:
        error: Any = RuntimeError("refused")
        error.error_group = f"token={secret}"
        return store_failure(backend, error)

    assert group("hunter") == group("correct")


def test_an_unknown_task_has_the_group_of_its_name(backend: Backend) -> None:
    def group(name: str) -> str:
        request = Bunch(name=name, chord=None, root_id="1", errbacks=None)
        backend.mark_as_failure("1", NotRegistered(name), request=request)
        key: str = row_of(backend, "1")["error_group"]
        return key

    assert group("export.fetch1") == group("export.fetch1")
    assert group("export.fetch1") != group("export.fetch2")


def test_a_failure_that_a_task_stores_itself_has_a_group(backend: Backend) -> None:
    def group(text: str) -> str:
        request = Context({**REQUEST, "hostname": "worker@host", "args": []})
        backend.store_result("1", {"text": text}, states.FAILURE, request=request)
        key: str = row_of(backend, "1")["error_group"]
        return key

    assert group("row 1") == group("row 2")


@pytest.mark.parametrize("kind", ["revoked", "unrun", "without a request"])
def test_an_end_that_is_not_the_error_of_a_run_has_no_group(
    backend: Backend, kind: str
) -> None:
    request = Context({**REQUEST, "hostname": "worker@host", "args": []})
    if kind == "revoked":
        backend.mark_as_revoked("1", "expired", request=request)
    elif kind == "unrun":
        step = {"task": "export.next", "options": {"task_id": "1"}, "args": []}
        vars(request).update(id="0", chain=[step])
        backend.mark_as_failure("0", ValueError(), request=request)
    else:
        backend.mark_as_failure("1", TaskRevokedError())

    assert row_of(backend, "1")["error_group"] is None

"""Ids that the tables cannot hold, and settings that the backend cannot honour."""

from __future__ import annotations

import uuid
from typing import Any

import pytest
from celery import Celery, states
from celery.app.task import Context
from celery.result import GroupResult
from sqlalchemy import text

from cadasta.workertoolbox.results import (
    ResultNotStorable,
    TaskStore,
    UnsupportedSetting,
)
from cadasta.workertoolbox.results._database.engine import database_url, open_engine
from cadasta.workertoolbox.results.backend import Backend

BAD_IDS = ["x" * 156, "x" * 500, "a\0b", "\ud800"]


@pytest.mark.parametrize("id", BAD_IDS)
def test_a_task_whose_result_cannot_be_stored_is_refused_at_the_caller(
    app: Celery, id: str
) -> None:
    with pytest.raises(ResultNotStorable, match="no result can be stored for the id"):
        app.send_task("export.project", task_id=id)


@pytest.mark.parametrize("id", BAD_IDS)
def test_get_does_not_wait_for_a_result_that_cannot_be_stored(
    app: Celery, backend: Backend, id: str
) -> None:
    backend.store_result(id, 1, states.SUCCESS)
    backend.mark_as_failure(id, ValueError("no"), request=Context(id=id, task="a"))

    with pytest.raises(ResultNotStorable):
        app.AsyncResult(id).get(timeout=5)
    with pytest.raises(ResultNotStorable):
        GroupResult("g", [app.AsyncResult(id)]).get(timeout=5)
    assert app.AsyncResult(id).state == states.PENDING


@pytest.mark.parametrize("id", ["x" * 155, "é" * 155, "日本", " "])
def test_ids_that_fit_are_stored(app: Celery, backend: Backend, id: str) -> None:
    backend.store_result(id, 1, states.SUCCESS)

    assert app.AsyncResult(id).get(timeout=5) == 1


def test_a_uuid_is_an_id(app: Celery, backend: Backend) -> None:
    id: Any = uuid.uuid4()
    backend.store_result(id, 1, states.SUCCESS)

    assert app.AsyncResult(str(id)).get(timeout=5) == 1
    assert app.AsyncResult(id).get(timeout=5) == 1


def test_a_group_whose_id_cannot_be_stored_is_refused(app: Celery) -> None:
    with pytest.raises(ResultNotStorable):
        GroupResult("g" * 156, [app.AsyncResult("1")]).save(backend=app.backend)


@pytest.mark.parametrize(
    ("name", "value", "advice"),
    [
        ("database_create_tables_at_setup", True, "tasks upgrade"),
        ("database_engine_options", {"echo": True}, "result_backend"),
        ("database_short_lived_sessions", True, "leave it out"),
        ("database_table_names", {"task": "results"}, "leave it out"),
        ("database_table_schemas", {"task": "celery"}, "search_path"),
    ],
)
def test_a_setting_that_would_have_no_effect_is_refused(
    url: str, name: str, value: object, advice: str
) -> None:
    app = Celery("tests", backend=url, set_as_current=False)
    app.conf[name] = value

    with pytest.raises(UnsupportedSetting, match=rf"{name}.*{advice}"):
        _ = app.backend


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("database_create_tables_at_setup", False),
        ("database_engine_options", {}),
        ("database_short_lived_sessions", False),
        ("database_table_schemas", None),
    ],
)
def test_a_setting_that_says_what_the_backend_does_anyway_is_accepted(
    url: str, name: str, value: object
) -> None:
    app = Celery("tests", backend=url, set_as_current=False)
    app.conf[name] = value

    assert isinstance(app.backend, Backend)


@pytest.mark.parametrize(
    ("kind", "args"),
    [
        ("SystemExit", [3]),
        ("KeyboardInterrupt", []),
        ("GeneratorExit", []),
        ("BaseException", ["no"]),
    ],
)
def test_a_stored_exception_does_not_end_the_process_that_reads_it(
    app: Celery, backend: Backend, kind: str, args: list[object]
) -> None:
    stored = {"exc_type": kind, "exc_message": args, "exc_module": "builtins"}
    backend.store_result("1", stored, states.FAILURE)
    with pytest.raises(Exception) as caught:
        app.AsyncResult("1").get(timeout=5)

    assert type(caught.value).__name__ == kind
    assert list(caught.value.args) == args
    assert isinstance(app.AsyncResult("1").result, Exception)


@pytest.mark.parametrize(
    "key", ["status", "result", "task_id", "traceback", "children", "stamps"]
)
def test_a_stamp_does_not_replace_what_a_client_reads(
    app: Celery, backend: Backend, key: str
) -> None:
    app.conf.result_extended = True
    request = Context(
        id="1", task="a", args=[], kwargs={}, stamped_headers=[key], stamps={key: "x"}
    )
    backend.store_result("1", 42, states.SUCCESS, request=request)
    result = app.AsyncResult("1")

    assert result.get(timeout=5) == 42
    assert result.state == states.SUCCESS
    assert result.traceback is None


def test_get_calls_on_message_for_one_result(app: Celery, backend: Backend) -> None:
    backend.store_result("1", 42, states.SUCCESS)
    metas: list[Any] = []

    assert app.AsyncResult("1").get(timeout=5, on_message=metas.append) == 42
    assert [meta["result"] for meta in metas] == [42]


@pytest.mark.parametrize("propagate", [True, False])
def test_a_group_ends_as_soon_as_the_task_before_it_fails(
    app: Celery, backend: Backend, propagate: bool
) -> None:
    before = app.AsyncResult("before")
    members = [app.AsyncResult(id, parent=before) for id in ("1", "2")]
    group: Any = GroupResult("g", members, parent=before)
    backend.mark_as_failure("before", KeyError("no"))
    if propagate:
        with pytest.raises(KeyError, match="no"):
            group.get(timeout=5)
    else:
        values = group.get(timeout=5, propagate=False)

        assert [value.args for value in values] == [("no",), ("no",)]


@pytest.mark.parametrize(
    ("name", "args", "kwargs", "shown"),
    [
        ("celery.starmap", [], {"task": {"task": "a.b"}, "it": [[1]]}, "a.b"),
        ("celery.map", [], {"task": {"task": "a.b"}, "it": [1]}, "a.b"),
        ("celery.chunks", [{"task": "a.b"}, [[1]], 1], {}, "a.b"),
        ("celery.starmap", [], {"task": 5, "it": []}, "celery.starmap"),
        ("celery.map", None, None, "celery.map"),
        ("a.c", [], {"task": {"task": "a.b"}}, "a.c"),
    ],
)
def test_a_mapping_task_is_shown_by_the_name_of_its_inner_task(
    backend: Backend, store: TaskStore, name: str, args: Any, kwargs: Any, shown: str
) -> None:
    request = Context(id="1", task=name, args=args, kwargs=kwargs)
    backend.store_result("1", [1], states.SUCCESS, request=request)

    assert store.get("1").name == shown


def test_a_timeout_in_the_url_is_honoured() -> None:
    engine = open_engine(database_url("sqlite://?timeout=0.5"))
    with engine.connect() as connection:
        timeout_ms = connection.execute(text("PRAGMA busy_timeout")).scalar_one()
    engine.dispose()

    assert timeout_ms == 500

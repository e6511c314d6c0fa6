"""Reading results, and waiting for them."""

from __future__ import annotations

import pickle
from threading import Timer
from typing import Any

import pytest
from celery import Celery, states
from celery.exceptions import ChordError, TimeoutError
from celery.result import GroupResult
from sqlalchemy import event, insert

from cadasta.workertoolbox.results import PickledResult
from cadasta.workertoolbox.results._backend import reading
from cadasta.workertoolbox.results._database.tables import taskmeta
from cadasta.workertoolbox.results.backend import Backend


def group(app: Celery, count: int) -> GroupResult:
    results = [app.AsyncResult(str(number)) for number in range(count)]
    return app.GroupResult("group", results)


def store(backend: Backend, *ids: int) -> None:
    for id in ids:
        backend.store_result(str(id), id * 10, states.SUCCESS)


def test_get_waits_for_a_result_that_arrives_later(
    app: Celery, backend: Backend
) -> None:
    timer = Timer(0.2, store, (backend, 1))
    timer.start()
    value = app.AsyncResult("1").get(timeout=10)
    timer.join()

    assert value == 10


def test_get_times_out_if_the_result_does_not_arrive(app: Celery) -> None:
    with pytest.raises(TimeoutError, match=r"1 of 1.*0\.01"):
        app.AsyncResult("1").get(timeout=0.01)


def test_the_results_of_a_group_are_read_by_one_query(
    app: Celery, backend: Backend
) -> None:
    store(backend, *range(50))
    statements: list[str] = []
    event.listen(
        backend.database.engine,
        "before_cursor_execute",
        lambda connection, cursor, statement, *_: statements.append(statement),
    )
    results = group(app, 50)

    assert results.get(timeout=1) == [number * 10 for number in range(50)]
    assert len(statements) == 1


def test_a_group_with_more_tasks_than_one_query_takes_is_complete(
    app: Celery, backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "MAX_IDS_PER_QUERY", 7)
    store(backend, *range(50))

    assert len(group(app, 50).get(timeout=1)) == 50


def test_get_many_yields_results_in_the_order_in_which_they_arrive(
    app: Celery, backend: Backend
) -> None:
    store(backend, 1)
    results = backend.get_many({"0", "1"}, timeout=10)
    first = next(results)
    store(backend, 0)

    assert (first[0], next(results)[0]) == ("1", "0")


def test_a_failure_in_a_group_is_raised(app: Celery, backend: Backend) -> None:
    store(backend, 0)
    backend.mark_as_failure("1", KeyError("no"))

    with pytest.raises(KeyError):
        group(app, 2).get(timeout=1)
    assert group(app, 2).get(timeout=1, propagate=False)[0] == 0


def test_get_join_and_join_native_return_the_same(
    app: Celery, backend: Backend
) -> None:
    store(backend, 0, 1)
    results = group(app, 2)

    assert results.get(timeout=1) == [0, 10]
    assert results.join(timeout=1) == [0, 10]
    assert results.join_native(timeout=1) == [0, 10]


def test_the_error_of_a_parent_is_raised_before_that_of_the_body(
    app: Celery, backend: Backend
) -> None:
    backend.mark_as_failure("header", KeyError("the cause"))
    backend.mark_as_failure("body", ChordError("the consequence"))
    result = app.AsyncResult("body", parent=app.AsyncResult("header"))

    with pytest.raises(KeyError, match="the cause"):
        result.get(timeout=5)


def test_a_pickled_result_is_refused(app: Celery, backend: Backend) -> None:
    with backend.database.engine.begin() as connection:
        row: dict[str, Any] = {
            "task_id": "1",
            "status": "SUCCESS",
            "result": pickle.dumps(42),
        }
        connection.execute(insert(taskmeta).values(row))

    with pytest.raises(PickledResult, match="pickle"):
        app.AsyncResult("1").get(timeout=1)

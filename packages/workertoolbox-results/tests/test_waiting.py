"""Waiting for results."""

from __future__ import annotations

import itertools
from threading import Timer

import pytest
from celery import Celery, states
from celery.exceptions import ChordError, TimeoutError
from celery.result import GroupResult
from sqlalchemy import event

from cadasta.workertoolbox.results._backend import reading
from cadasta.workertoolbox.results._backend.polling import waits
from cadasta.workertoolbox.results.backend import Backend


def group(app: Celery, count: int) -> GroupResult:
    results = [app.AsyncResult(str(number)) for number in range(count)]
    return app.GroupResult("group", results)


def put(backend: Backend, *ids: int) -> None:
    for id in ids:
        backend.store_result(str(id), id * 10, states.SUCCESS)


def test_the_waits_start_short_and_grow_to_the_longest() -> None:
    first = list(itertools.islice(waits(None, longest_s=0.5), 100))

    assert first[0] == 0.001
    assert first == sorted(first, key=lambda wait: wait or 0)
    assert first[-1] == 0.5


def test_the_last_wait_ends_with_the_time() -> None:
    assert list(itertools.islice(waits(0, longest_s=0.5), 2)) == [None, None]
    assert next(waits(0.0005, longest_s=0.5)) < 0.001  # type: ignore[operator]


def test_a_result_that_comes_later_is_waited_for(app: Celery, backend: Backend) -> None:
    timer = Timer(0.2, put, (backend, 1))
    timer.start()
    value = app.AsyncResult("1").get(timeout=10)
    timer.join()

    assert value == 10


def test_a_result_that_does_not_come_is_a_timeout(app: Celery) -> None:
    with pytest.raises(TimeoutError, match=r"1 of 1.*0\.01"):
        app.AsyncResult("1").get(timeout=0.01)


def test_a_group_is_asked_for_in_one_query_a_look(
    app: Celery, backend: Backend
) -> None:
    put(backend, *range(50))
    statements: list[str] = []
    event.listen(
        backend.database.engine,
        "before_cursor_execute",
        lambda connection, cursor, statement, *_: statements.append(statement),
    )
    results = group(app, 50)

    assert results.get(timeout=1) == [number * 10 for number in range(50)]
    assert len(statements) == 1


def test_a_group_of_more_than_a_query_takes_is_complete(
    app: Celery, backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "IDS_IN_A_QUERY", 7)
    put(backend, *range(50))

    assert len(group(app, 50).get(timeout=1)) == 50


def test_results_are_handed_out_as_they_come(app: Celery, backend: Backend) -> None:
    put(backend, 1)
    seen = backend.get_many({"0", "1"}, timeout=10)
    first = next(seen)
    put(backend, 0)

    assert (first[0], next(seen)[0]) == ("1", "0")


def test_a_failure_in_a_group_is_raised(app: Celery, backend: Backend) -> None:
    put(backend, 0)
    backend.mark_as_failure("1", KeyError("no"))

    with pytest.raises(KeyError):
        group(app, 2).get(timeout=1)
    assert group(app, 2).get(timeout=1, propagate=False)[0] == 0


def test_every_way_to_join_gives_the_same(app: Celery, backend: Backend) -> None:
    put(backend, 0, 1)
    results = group(app, 2)

    assert results.get(timeout=1) == [0, 10]
    assert results.join(timeout=1) == [0, 10]
    assert results.join_native(timeout=1) == [0, 10]


def test_the_error_of_a_parent_comes_before_that_of_the_body(
    app: Celery, backend: Backend
) -> None:
    backend.mark_as_failure("header", KeyError("the cause"))
    backend.mark_as_failure("body", ChordError("what came of it"))
    result = app.AsyncResult("body", parent=app.AsyncResult("header"))

    with pytest.raises(KeyError, match="the cause"):
        result.get(timeout=5)

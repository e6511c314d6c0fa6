"""Expired results are read from the history."""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date, timedelta
from typing import Any

import pytest
from archiving import archive
from celery import Celery, states
from celery.app.task import Context
from celery.exceptions import TimeoutError
from sqlalchemy import delete, event, func, select, update

from cadasta.workertoolbox.results import InvalidLimit, ResultTooLarge, TaskStore
from cadasta.workertoolbox.results._backend import absent_ids, reading
from cadasta.workertoolbox.results._database.tables import history, taskmeta
from cadasta.workertoolbox.results._history.ended_tasks import archive_options
from cadasta.workertoolbox.results.backend import Backend


def result_of(app: Celery, id: str) -> Any:
    """Return a result without the types of the stubs, which are too narrow."""
    return app.AsyncResult(id)


def run(
    backend: Backend, id: str, value: object = 42, state: str = states.SUCCESS
) -> None:
    """Let a task start and end."""
    request = Context(
        id=id,
        task="export.echo",
        args=["a"],
        kwargs={"b": 1},
        hostname="a@host",
        retries=0,
        delivery_info={"routing_key": "export"},
    )
    request.children.append(result_of(backend.app, "child"))
    backend.store_result(id, {}, states.STARTED, request=request)
    backend.store_result(id, value, state, traceback="lines", request=request)


def expire(backend: Backend) -> None:
    """Archive all results, and delete them by the time they were stored."""
    archive(backend)
    backend.expires = timedelta(seconds=-1)
    backend.cleanup()
    with backend.database.connect() as connection:
        assert not connection.scalar(select(func.count()).select_from(taskmeta))


@contextmanager
def queries_of_history(backend: Backend) -> Iterator[list[str]]:
    seen: list[str] = []

    def note(connection: Any, cursor: Any, statement: str, *_: Any) -> None:
        if history.name in statement:
            seen.append(statement)

    event.listen(backend.database.engine, "before_cursor_execute", note)
    yield seen
    event.remove(backend.database.engine, "before_cursor_execute", note)


def test_an_expired_result_is_the_same_as_before(app: Celery, backend: Backend) -> None:
    run(backend, "1", {"rows": [1, 2]})
    before = backend.get_task_meta("1", cache=False)
    expire(backend)
    after = backend.get_task_meta("1", cache=False)

    assert after == before
    assert result_of(app, "1").get(timeout=5) == {"rows": [1, 2]}
    assert result_of(app, "1").args == ["a"]
    assert [each.id for each in result_of(app, "1").children or ()] == ["child"]


def test_the_later_end_of_an_id_that_was_used_twice_is_shown(
    app: Celery, backend: Backend, store: TaskStore
) -> None:
    for number in range(2):
        run(backend, "1", number)
        expire(backend)
        if number == 0:  # Too long ago for the archiver to find it.
            long_ago = {"day": date(2020, 1, 1), "id": "0", "worker": "first"}
            with backend.database.connect() as connection:
                connection.execute(update(history).values(**long_ago))
    with backend.database.connect() as connection:
        first = history.c.id == "0"
        connection.execute(update(history).where(first).values(id="1"))

    assert store.get("1").result == result_of(app, "1").get(timeout=5) == 1
    assert [each.worker for each in store.attempts("1")] == ["a@host"]


def test_an_expired_error_is_raised(app: Celery, backend: Backend) -> None:
    run(backend, "1", KeyError("no"), states.FAILURE)
    expire(backend)
    result = result_of(app, "1")

    with pytest.raises(KeyError, match="no"):
        result.get(timeout=5)
    assert (result.state, result.traceback) == (states.FAILURE, "lines")


def test_a_group_of_live_and_expired_results_is_read(
    app: Celery, backend: Backend
) -> None:
    run(backend, "1", 1)
    expire(backend)
    run(backend, "2", 2)
    group = app.GroupResult("g", [result_of(app, "1"), result_of(app, "2")])

    assert group.get(timeout=5) == [1, 2]


def test_a_task_that_runs_again_is_waited_for(app: Celery, backend: Backend) -> None:
    run(backend, "1")
    expire(backend)
    backend.store_result("1", {}, "PROGRESS")
    result = result_of(app, "1")

    assert result.state == "PROGRESS"
    with pytest.raises(TimeoutError):
        result_of(app, "1").get(timeout=0.01)


def test_all_but_the_result_can_be_read_if_the_result_was_cut(
    app: Celery, backend: Backend
) -> None:
    app.conf.MAX_HISTORY_RESULT_BYTES = backend._max_result_bytes = 100
    run(backend, "1", "x" * 98)
    run(backend, "2", "x" * 99)
    run(backend, "3", ValueError("x" * 99), states.FAILURE)
    archive(backend, max_result_bytes=100)
    expire(backend)
    whole, cut, failed = (result_of(app, id) for id in "123")

    assert whole.get(timeout=5) == "x" * 98
    assert (cut.state, cut.successful(), cut.name) == ("SUCCESS", True, "export.echo")
    for read in (cut.get, lambda: cut.result, app.GroupResult("g", [cut]).get):
        with pytest.raises(ResultTooLarge) as caught:
            read()
        assert pickle.loads(pickle.dumps(caught.value)).args == ("2", 101, 100)
    for part in ("task '2'", "101 bytes", "MAX_HISTORY_RESULT_BYTES (now 100)"):
        assert part in str(caught.value)
    assert failed.state == states.FAILURE
    with pytest.raises(ResultTooLarge, match="task '3'"):
        failed.get(timeout=5)


def test_the_limit_of_results_in_history_is_checked(app: Celery) -> None:
    app.conf.MAX_HISTORY_RESULT_BYTES = 70_000

    assert archive_options(app).max_result_bytes == 70_000

    app.conf.MAX_HISTORY_RESULT_BYTES = "64k"
    with pytest.raises(InvalidLimit, match="MAX_HISTORY_RESULT_BYTES='64k'"):
        archive_options(app)


def test_waiting_searches_the_history_once(app: Celery, backend: Backend) -> None:
    with queries_of_history(backend) as queries, pytest.raises(TimeoutError):
        result_of(app, "1").get(timeout=0.1)

    assert len(queries) == 1


def test_polling_an_unknown_id_searches_the_history_once(
    app: Celery, backend: Backend
) -> None:
    with queries_of_history(backend) as queries:
        polled = {result_of(app, "1").state for _ in range(20)}

    assert polled == {states.PENDING}
    assert len(queries) == 1


def test_a_task_that_was_just_published_is_not_searched_in_the_history(
    app: Celery, backend: Backend
) -> None:
    result = app.send_task("export.echo")
    with queries_of_history(backend) as queries, pytest.raises(TimeoutError):
        result.get(timeout=0.05)

    assert result.state == states.PENDING
    assert queries == []


def test_the_history_is_searched_again_after_a_while(
    app: Celery, backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(absent_ids, "GENERATION_S", 0.0)
    monkeypatch.setattr(reading, "HISTORY_INTERVAL_S", 0.0)
    run(backend, "1")
    expire(backend)
    backend._archived.expect("1")

    assert result_of(app, "1").get(timeout=5) == 42


def test_the_ids_that_are_remembered_are_bounded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(absent_ids, "MAX_IDS", 10)
    ids = absent_ids.AbsentIds()
    for number in range(100):
        ids.add(str(number))
    ids.add(*map(str, range(100, 200)))
    maybe = ids.without(map(str, range(200)))

    assert 180 <= len(maybe) < 200
    assert "109" not in maybe


def test_a_forgotten_result_is_unknown_before_and_after_it_is_archived(
    app: Celery, backend: Backend
) -> None:
    for id in ("archived", "expired"):
        run(backend, id)
    archive(backend)
    run(backend, "kept")
    with backend.database.connect() as connection:
        connection.execute(delete(taskmeta).where(taskmeta.c.task_id == "expired"))
    for id in ("kept", "archived", "expired"):
        result_of(app, id).forget()
        assert result_of(app, id).state == states.PENDING
        assert not backend.task_result_exists(id)
        with pytest.raises(TimeoutError):
            result_of(app, id).get(timeout=0.01)

    expire(backend)

    assert result_of(app, "kept").state == states.PENDING
    with backend.database.connect() as connection:
        ends = connection.execute(select(history.c.id, history.c.forgotten)).all()
    assert {*ends} == {(id, True) for id in ("kept", "archived", "expired")}


@pytest.mark.parametrize("is_archived", [False, True])
def test_a_run_after_forget_is_visible_and_keeps_the_earlier_one(
    app: Celery, backend: Backend, is_archived: bool
) -> None:
    run(backend, "1", "first")
    result_of(app, "1").forget()
    if is_archived:
        archive(backend)
    run(backend, "1", "second")

    assert result_of(app, "1").get(timeout=5) == "second"

    expire(backend)

    assert result_of(app, "1").get(timeout=5) == "second"
    with backend.database.connect() as connection:
        [attempts] = connection.scalars(select(history.c.attempts))
    assert [each["outcome"] for each in attempts] == [states.SUCCESS]


def test_forgetting_a_running_task_hides_its_earlier_end(
    app: Celery, backend: Backend
) -> None:
    run(backend, "1")
    expire(backend)
    backend.store_result("1", {}, "PROGRESS")
    result_of(app, "1").forget()

    assert result_of(app, "1").state == states.PENDING

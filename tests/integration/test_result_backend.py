"""The result backend on PostgreSQL and SQLite."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from celery import states
from celery.app.task import Context
from sqlalchemy import Engine, text

from cadasta.workertoolbox.results import TaskStore
from support.result_backends import REQUEST, app_with_backend, sqlalchemy_url


def test_a_final_state_keeps_the_start_time(
    result_backend: str, database_store: TaskStore
) -> None:
    backend = app_with_backend(result_backend).backend
    backend.store_result("1", {}, states.STARTED, request=REQUEST)
    backend.get_state("1")  # Reading the state writes a deferred start.
    started = database_store.get("1")
    backend.store_result("1", [1, "é"], states.SUCCESS, request=REQUEST)
    done = database_store.get("1")

    assert (started.status, started.result, started.finished_at) == (
        "STARTED",
        None,
        None,
    )
    assert (done.status, done.result, done.tracked) == ("SUCCESS", [1, "é"], False)
    assert (done.name, done.args, done.kwargs) == ("export.project", ["a"], {"b": 1})
    assert done.started_at == started.started_at
    assert done.finished_at is not None
    assert abs(datetime.now(UTC) - done.finished_at) < timedelta(minutes=1)


def test_celerys_own_backend_and_ours_read_and_write_the_same_rows(
    result_backend: str, database_store: TaskStore
) -> None:
    ours, celerys = (
        app_with_backend(result_backend),
        app_with_backend(f"db+{sqlalchemy_url(result_backend)}"),
    )
    ours.backend.store_result("1", "ours", states.SUCCESS, request=REQUEST)
    celerys.backend.store_result("2", "celery's", states.SUCCESS, request=REQUEST)
    ours.backend.mark_as_failure("3", KeyError("ours"), request=REQUEST)
    celerys.backend.mark_as_failure("4", KeyError("celery's"), request=REQUEST)

    for app in (ours, celerys):
        assert app.AsyncResult("1").get(timeout=1) == "ours"
        assert app.AsyncResult("2").get(timeout=1) == "celery's"
        assert app.AsyncResult("3").result.args == ("ours",)
        assert app.AsyncResult("4").result.args == ("celery's",)
    assert {task.id for task in database_store.list()} == {"1", "2", "3", "4"}


def test_a_chord_published_again_keeps_its_counts(
    result_backend: str, engine: Engine
) -> None:
    with app_with_backend(result_backend) as app:
        backend: Any = app.backend
        for number in range(2):
            backend.apply_chord(("chord", []), None)
            part = Context(id=f"{number}", group="chord", group_index=number)
            backend.on_chord_part_return(part, states.SUCCESS, number)
            # The second publisher is killed before it sets the size.
            if number == 0:
                backend.set_chord_size("chord", 3)
    with engine.connect() as connection:
        query = text("SELECT size, done, started_at FROM workertoolbox_chord")
        [row] = list(connection.execute(query))

    assert row == (3, 2, None)

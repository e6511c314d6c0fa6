"""Cleanup of what is older than `result_expires`."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from archiving import archive
from celery import Celery, states
from celery.app.task import Context
from closing import make_older, publish, statuses, store_state
from polling import eventually
from sqlalchemy import func, insert, select

from cadasta.workertoolbox.results._database.statuses import ENDED
from cadasta.workertoolbox.results._database.tables import (
    chord,
    chord_part,
    history,
    taskmeta,
    tasksetmeta,
)
from cadasta.workertoolbox.results._history import cleanup
from cadasta.workertoolbox.results.backend import Backend

DAY = timedelta(days=1)


def row_counts(backend: Backend) -> list[int]:
    with backend.database.connect() as connection:
        return [
            connection.scalar(select(func.count()).select_from(table)) or 0
            for table in (taskmeta, tasksetmeta, chord, chord_part)
        ]


def test_old_rows_are_deleted_and_young_ones_stay(
    app: Celery, backend: Backend
) -> None:
    backend.store_result("1", 42, states.SUCCESS)
    app.GroupResult("g", [app.AsyncResult("1")]).save()
    request = Context(id="2", group="c", group_index=0, chord={"task": "body"})
    backend.on_chord_part_return(request, states.SUCCESS, 42)
    backend.cleanup()

    assert row_counts(backend) == [1, 1, 1, 1]

    archive(backend)
    backend.expires = timedelta(seconds=-1)
    backend.cleanup()

    assert row_counts(backend) == [0, 0, 0, 0]


def test_states_of_live_tasks_stay_until_the_end(backend: Backend) -> None:
    error = ValueError("no map")
    for id, state, result in (
        ("runs", states.STARTED, None),
        ("waits", states.RETRY, error),
    ):
        publish(backend, id=id)
        store_state(backend, id, state, result)
        make_older(backend, id, date_done=DAY + timedelta(hours=1))
    publish(backend, id="waits", retries=1)
    backend.expires = DAY
    backend.cleanup()

    assert statuses(backend, ["runs", "waits"]) == [states.STARTED, states.RETRY]

    store_state(backend, "waits", states.SUCCESS, retries=1)
    archive(backend)
    with backend.database.connect() as connection:
        archived = select(history.c.attempts).where(history.c.id == "waits")
        [attempt] = connection.execute(archived).scalar_one()

    assert (attempt["outcome"], attempt["worker"]) == (states.RETRY, "a@host")


def test_a_start_without_a_message_is_deleted(backend: Backend) -> None:
    # Its end may never come, and then nothing else would delete the row.
    backend.store_result("1", {}, states.STARTED)

    assert eventually(lambda: row_counts(backend)[0], 1) == 1

    backend.expires = timedelta(seconds=-1)
    backend.cleanup()

    assert row_counts(backend)[0] == 0


def test_results_are_deleted_in_batches(
    backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cleanup, "BATCH_SIZE", 10)
    long_ago = datetime.now(UTC) - 2 * DAY
    with backend.database.connect() as connection:
        old = [{"task_id": str(n), "date_done": long_ago} for n in range(25)]
        connection.execute(insert(taskmeta), old)

    assert cleanup.delete_results(backend.database, datetime.now(UTC) - DAY) == 10

    backend.expires = DAY
    backend.cleanup()

    assert row_counts(backend)[0] == 0


def test_nothing_is_deleted_without_an_expiry(backend: Backend) -> None:
    backend.expires = None
    backend.store_result("1", 42, states.SUCCESS)
    backend.cleanup()

    assert row_counts(backend)[0] == 1


def test_the_end_of_a_task_stays_until_it_is_archived(
    backend: Backend, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(cleanup, "BATCH_SIZE", 2)
    backend.expires = timedelta(seconds=-1)
    for state in (*ENDED, states.STARTED, "PROGRESS"):
        backend.store_result(state, None, state)
    request = Context(task="celery.group", args=[], kwargs={})
    backend.store_result("group", ValueError(), states.FAILURE, request=request)
    assert eventually(lambda: row_counts(backend)[0], len(ENDED) + 3)
    backend.cleanup()

    assert row_counts(backend)[0] == len(ENDED)
    [line] = caplog.messages
    assert "tasks archive --once" in line

    archive(backend)
    caplog.clear()
    backend.cleanup()

    assert row_counts(backend)[0] == 0
    assert caplog.messages == []

"""Tasks of apps that store their results elsewhere."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from typing import Any

import pytest
from archiving import archive
from closing import run, shown, store_state, stored
from sqlalchemy import delete, select
from stored_tasks import MINUTE, publish, store_ended

from cadasta.workertoolbox.results import TaskStore
from cadasta.workertoolbox.results._database.tables import (
    backlog,
    rollup,
    taskmeta,
)
from cadasta.workertoolbox.results._history import outcomes
from cadasta.workertoolbox.results._history.backlog import sample_backlog
from cadasta.workertoolbox.results._history.expired_tasks import close_expired
from cadasta.workertoolbox.results._history.outcomes import close_unexpected
from cadasta.workertoolbox.results.backend import Backend

DAY = timedelta(days=1)

#: A message of a tracked app whose results are in Redis.
REDIS = {"workertoolbox_results_elsewhere": "redis"}


def waiting(store: TaskStore) -> dict[str, int | None]:
    return {each.queue: each.queued for each in store.backlog()}


def stuck(store: TaskStore) -> set[str]:
    return {each.id for each in store.stuck(timedelta(minutes=15))}


def test_a_task_does_not_wait_if_its_result_is_stored_elsewhere(
    store: TaskStore, now: datetime
) -> None:
    ahead = (now + MINUTE).isoformat()
    publish(store, "mails", "1", "2", at=now - 60 * MINUTE, **REDIS)
    publish(store, "mails", "3", at=now - 60 * MINUTE, eta=ahead, **REDIS)
    publish(store, "mails", "own", at=now - 30 * MINUTE)
    [mails] = store.backlog()
    unusual = {each.task.id for each in store.stuck_by_p99()}

    assert (mails.queued, mails.scheduled, mails.unknown) == (1, 1, 2)
    assert 1700 < mails.oldest_s < 1900
    assert stuck(store) == unusual == {"own"}
    assert store.why("own").evidence["before"] == 0


def test_a_queue_has_no_sample_if_it_is_not_known_what_waits(
    store: TaskStore, now: datetime
) -> None:
    ahead = (now + 60 * MINUTE).isoformat()
    publish(store, "mails", "1", at=now - MINUTE, **REDIS)
    publish(store, "mails", "2", at=now - MINUTE, eta=ahead, **REDIS)
    publish(store, "both", "3", at=now - MINUTE, **REDIS)
    publish(store, "both", "4", at=now - MINUTE)
    publish(store, "later", "5", at=now - MINUTE, eta=ahead, **REDIS)
    with store.engine.begin() as connection:
        sample_backlog(connection, now)
        query = select(backlog.c.queue, backlog.c.queued_max, backlog.c.scheduled_max)
        rows = connection.execute(query.where(backlog.c.tier == "minute")).all()

    assert sorted(map(tuple, rows)) == [("", 1, 2), ("both", 1, 0), ("later", 0, 1)]


@pytest.mark.parametrize("status", ["SUCCESS", "FAILURE"])
def test_a_task_waits_if_the_workers_of_its_queue_store_results_here(
    store: TaskStore, now: datetime, status: str
) -> None:
    # Only figures of whole days are kept for so long.
    store_ended(store, "new", queue="export", at=now - 7 * DAY, status=status)
    with store.engine.begin() as connection:
        connection.execute(delete(rollup).where(rollup.c.tier != "day"))
    store_ended(store, "old", queue="mails", at=now - 8 * DAY)
    store_ended(store, "end", queue="mails", at=now - DAY, status="IGNORED")
    for queue in ("export", "mails"):
        publish(store, queue, f"{queue}-1", at=now - 60 * MINUTE, **REDIS)

    assert waiting(store) == {"export": 1, "mails": 0}
    assert stuck(store) == {"export-1"}


def test_a_task_waits_if_a_task_of_its_queue_runs(
    store: TaskStore, backend: Backend, now: datetime
) -> None:
    publish(store, "mails", "1", "2", at=now - 60 * MINUTE, **REDIS)
    unknown = stuck(store)
    store_state(
        backend, "1", "STARTED", delivery_info={"routing_key": "mails"}, retries=0
    )

    assert unknown == set()
    assert stuck(store) == {"2"}


def test_why_says_that_a_result_is_stored_elsewhere(
    store: TaskStore, now: datetime
) -> None:
    ahead, past = ((now + each).isoformat() for each in (MINUTE, -MINUTE))
    publish(store, "mails", "1", at=now - 60 * MINUTE, **REDIS)
    publish(store, "mails", "2", at=now - 60 * MINUTE, eta=ahead, **REDIS)
    publish(store, "mails", "3", at=now - 60 * MINUTE, expires=past, **REDIS)
    publish(
        *(store, "mails", "4"),
        at=now - 60 * MINUTE,
        workertoolbox_results_elsewhere="disabled",
    )
    found = {id: store.why(id) for id in "1234"}

    assert [each.cause for each in found.values()] == [
        *("results_elsewhere", "eta", "results_elsewhere", "results_elsewhere")
    ]
    assert found["1"].sentence.endswith(
        "its result is stored elsewhere (redis): its outcome is not known here, and "
        "AsyncResult in the service that sent it has it."
    )
    assert found["4"].sentence.endswith(
        ", and its workers store no results, so that its outcome is not known."
    )
    assert not any(each.is_trouble for each in found.values())


def test_a_task_is_not_revoked_as_expired_if_its_result_is_elsewhere(
    store: TaskStore, backend: Backend, now: datetime
) -> None:
    expires = (now - 60 * MINUTE).isoformat()
    publish(store, "mails", "1", at=now - 90 * MINUTE, expires=expires, **REDIS)
    publish(store, "mails", "2", at=now - 90 * MINUTE, expires=expires)
    run(backend, close_expired, now)

    assert {id: row["status"] for id, row in shown(backend).items()} == {
        "1": "QUEUED",
        "2": "REVOKED",
    }


def test_a_task_is_archived_a_day_after_it_could_run(
    store: TaskStore, backend: Backend, now: datetime
) -> None:
    old, young = now - DAY - MINUTE, now - DAY + MINUTE
    publish(store, "mails", "1", at=old, **REDIS)
    publish(store, "mails", "2", at=young, **REDIS)
    publish(store, "mails", "3", at=old, eta=young.isoformat(), **REDIS)
    publish(store, "mails", "own", at=old)
    store_ended(store, "end", queue="export", at=now - MINUTE)
    publish(store, "export", "known", at=old, **REDIS)
    run(backend, close_unexpected, now)
    archive(backend)
    rows, found = shown(backend), store.why("1")

    assert {id for id, row in rows.items() if row["status"] == "IGNORED"} == {"1"}
    assert {id for id, row in rows.items() if row["status"] == "QUEUED"} == {
        *("2", "3", "own", "known")
    }
    assert backend.get_state("1") == "PENDING"
    assert (found.cause, found.is_trouble) == ("results_elsewhere", False)
    assert "(redis)" in found.sentence
    assert waiting(store)["mails"] == 1  # Its end is not a sign of a worker.


@pytest.mark.parametrize("is_archived", [False, True])
def test_a_worker_that_runs_a_closed_task_replaces_its_end(
    store: TaskStore, backend: Backend, now: datetime, is_archived: bool
) -> None:
    publish(store, "mails", "1", at=now - 2 * DAY, **REDIS)
    run(backend, close_unexpected, now)
    if is_archived:
        archive(backend)
    store_state(backend, "1", "SUCCESS", 5, retries=0)
    archive(backend)

    assert shown(backend)["1"]["status"] == "SUCCESS"
    assert backend.get_result("1") == 5


@pytest.mark.parametrize(
    ("eta", "minutes"), [(None, 0), (-30, 0), (0, 0), (30, 30), (60, 60)]
)
def test_the_end_of_a_task_is_when_it_could_run(
    store: TaskStore, backend: Backend, now: datetime, eta: int | None, minutes: int
) -> None:
    at = now - 2 * DAY
    headers: dict[str, Any] = {"root_id": "r", "parent_id": "p", "group": "g"}
    if eta is not None:
        headers["eta"] = (at + eta * MINUTE).isoformat()
    publish(store, "mails", "1", at=at, retries=2, **headers, **REDIS)
    run(backend, close_unexpected, now)
    row = {name: value for name, value in stored(backend, "1").items() if value}

    assert json.loads(row.pop("result")).startswith("its result is stored elsewhere")
    assert row.pop("id")
    assert row == {
        **{"task_id": "1", "status": "IGNORED", "name": "export.project"},
        **{"queue": "mails", "root_id": "r", "parent_id": "p", "group_id": "g"},
        **{"retries": 2, "published_at": at, "forgotten": True},
        "date_done": (at + minutes * MINUTE).replace(tzinfo=None),
    }


def is_closed(store: TaskStore, backend: Backend, now: datetime) -> bool:
    run(backend, close_unexpected, now)
    with store.engine.connect() as connection:
        return connection.scalar(select(taskmeta.c.status)) == "IGNORED"


@pytest.mark.parametrize("eta", [False, True])
def test_a_task_is_closed_when_a_day_has_passed(
    store: TaskStore, backend: Backend, now: datetime, eta: bool
) -> None:
    could_run = now - DAY
    earlier = could_run - DAY if eta else could_run
    headers = {"eta": could_run.isoformat()} if eta else {}
    publish(store, "mails", "1", at=earlier, **headers, **REDIS)

    assert not is_closed(store, backend, now)
    assert is_closed(store, backend, now + timedelta(seconds=1))


def test_tasks_with_results_are_left_alone_and_the_others_are_closed_in_turn(
    store: TaskStore,
    backend: Backend,
    now: datetime,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(outcomes, "STEP_SIZE", 2)
    at = now - 3 * DAY
    publish(store, "own", "a", "b", "c", at=at)
    for number, id in enumerate("54321"):
        publish(store, "mails", id, at=at + number * MINUTE, **REDIS)
    # A task that was started by hand has no queue, which says nothing about queues.
    store_state(backend, "4", "STARTED", retries=0)
    positions: dict[str, Any] = {}
    found = []
    for _ in range(3):
        run(backend, close_unexpected, now, positions=positions)
        rows = shown(backend).items()
        found.append({id for id, row in rows if row["status"] == "IGNORED"})

    assert found == [{"5"}, {*"532"}, {*"5321"}]

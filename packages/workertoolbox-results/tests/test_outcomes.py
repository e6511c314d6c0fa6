"""Tasks of apps that store their results elsewhere."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest
from archiving import archive
from closing import run, shown, store_state
from sqlalchemy import select
from stored_tasks import MINUTE, publish, store_ended

from cadasta.workertoolbox.results import TaskStore
from cadasta.workertoolbox.results._database.tables import backlog
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
    store_ended(store, "new", queue="export", at=now - 2 * DAY, status=status)
    store_ended(store, "old", queue="mails", at=now - 9 * DAY)
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
    assert "its result is stored elsewhere (redis)" in found["1"].sentence
    assert "store no results" in found["4"].sentence
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

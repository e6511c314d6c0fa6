"""Services, workers, names, queues and untracked tasks."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import pytest
from celery import states
from stored_tasks import MINUTE, publish, store_ended, store_state

from cadasta.workertoolbox.results import TaskStore
from cadasta.workertoolbox.results._headers import SERVICE
from cadasta.workertoolbox.results._store.fleet.routes import host_family


def test_workers_are_seen_by_the_starts_and_ends_of_tasks(
    store: TaskStore, now: datetime
) -> None:
    store_ended(store, "1", "2", at=now - 3 * MINUTE, worker="a@host")
    store_ended(store, "3", at=now - 4 * MINUTE, worker="a@host", status=states.FAILURE)
    store_ended(store, "4", at=now - 20 * MINUTE, worker="a@host")
    store_ended(store, "5", at=now - 40 * MINUTE, worker="b@host")
    store_ended(store, "6", at=now - 61 * MINUTE, worker="gone@host")
    store_state(store, "7", states.SUCCESS, at=now - MINUTE, worker="a@host", name="a")
    store_state(store, "8", states.FAILURE, at=now - MINUTE, worker="c@host", name="a")
    publish(store, "export", "9", at=now - 5 * MINUTE)
    old, new = now - 90 * MINUTE, now - 2 * MINUTE
    store_state(store, "9", states.STARTED, at=new, worker="c@host", started_at=new)
    store_state(store, "0", "PROGRESS", at=old, worker="c@host", started_at=old)
    store_state(store, "r", states.RETRY, at=new, worker="retrying@host")
    a, b, c = store.workers()

    assert (a.name, a.seen_at, a.ended, a.failed) == ("a@host", now - MINUTE, 4, 1)
    assert (b.name, b.seen_at, b.ended) == ("b@host", now - 40 * MINUTE, 0)
    assert (c.name, c.seen_at, c.ended, c.failed) == ("c@host", now - MINUTE, 1, 1)
    assert [(each.id, each.started_at) for each in c.running] == [
        ("0", old),
        ("9", new),
    ]
    assert c.running[1].name == "export.project"
    assert [each.name for each in store.workers(since=now - 20 * MINUTE)] == [
        "a@host",
        "c@host",
    ]


def test_a_worker_that_runs_a_task_is_seen_at_its_last_end_even_if_that_is_old(
    store: TaskStore, now: datetime
) -> None:
    began = now - 90 * MINUTE
    store_state(store, "1", "PROGRESS", at=began, worker="a@host", started_at=began)
    store_ended(store, "2", at=now - 70 * MINUTE, worker="a@host")
    [worker] = store.workers()

    assert (worker.name, worker.seen_at) == ("a@host", now - 70 * MINUTE)
    assert (worker.running[0].id, worker.ended) == ("1", 0)


def test_services_are_listed_with_their_tasks_and_workers(
    store: TaskStore, now: datetime
) -> None:
    pods = ["export-7c9f8d6b5-x2lz9", "export-7c9f8d6b5-b4qwr"]
    for number, pod in enumerate(pods):
        store_ended(
            store,
            f"e{number}",
            at=now - number * MINUTE,
            name="export.site",
            origin=f"gen{number}@web-{number}",
            worker=f"celery@{pod}",
        )
    store_ended(store, "u", name="export.site", queue="slow", worker="w@host")
    store_ended(store, "old", at=now - 25 * 60 * MINUTE, name="export.old")
    sent: dict[str, Any] = {"task": "export.live", SERVICE: "beat"}
    publish(store, "export", "l", at=now, **sent)
    publish(store, "celery", "i", origin="gen9@beat", task="celery.chord_unlock")
    live, untracked, site = sorted(
        store.services(), key=lambda each: (each.name, each.sender or "")
    )

    assert (live.sender, live.name, live.queue) == ("beat", "export.live", "export")
    assert (live.workers, live.tasks, live.last_at) == ([], 1, now)
    assert (untracked.sender, untracked.queue) == (None, "slow")
    assert (site.sender, site.workers) == ("web-*", ["celery@export-*"])
    assert (site.tasks, site.last_at) == (2, now)
    assert "celery.chord_unlock" in {
        each.name for each in store.services(internal=True)
    }


def test_a_service_that_runs_its_first_task_is_listed_with_its_worker(
    store: TaskStore, now: datetime
) -> None:
    publish(store, "export", "1", at=now)
    before = [each.workers for each in store.services()]
    store_state(store, "1", states.STARTED, at=now, worker="w@host", started_at=now)

    assert before == [[]]
    assert [each.workers for each in store.services()] == [["w@host"]]


@pytest.mark.parametrize(
    ("host", "family"),
    [
        ("export-7c9f8d6b5-x2lz9", "export-*"),
        ("celery@export-slow-66bdc55c9f-kd7vw", "celery@export-slow-*"),
        ("export-0", "export-*"),
        ("ip-10-0-1-2.ec2.internal", "ip-10-0-1-2.ec2.internal"),
        ("big-export-hosts", "big-export-hosts"),
        ("worker7", "worker7"),
    ],
)
def test_pods_of_a_deployment_are_one_family(host: str, family: str) -> None:
    assert host_family(host) == family


def test_names_and_queues_are_those_of_live_and_recent_tasks(
    store: TaskStore, now: datetime
) -> None:
    assert (store.names(), store.queues()) == ([], [])
    publish(store, "live", "1", task="export.live")
    store_ended(store, "2", name="export.done", queue="done")
    store_ended(
        store, "3", name="export.old", queue="old", at=now - 40 * 24 * 60 * MINUTE
    )

    assert store.names() == ["export.done", "export.live"]
    assert store.queues() == ["done", "live"]


def test_untracked_tasks_are_those_without_a_message(
    store: TaskStore, now: datetime
) -> None:
    before = now - 5 * MINUTE
    publish(store, "export", "tracked", at=before)
    store_state(store, "tracked", states.SUCCESS, at=before)
    store_state(store, "live", states.STARTED, at=before, name="a")
    store_state(store, "new", states.SUCCESS, at=now)
    store_state(store, "chord", states.FAILURE, at=before, name="celery.chord")
    store_state(store, "step", states.FAILURE, at=before, not_run="not run: …")
    store_ended(store, "ended", at=before - MINUTE, tracked=False)
    store_ended(store, "tracked too", at=before)
    store_ended(store, "old", at=before - 9 * MINUTE, tracked=False)

    found = [task.id for task in store.untracked(since=before - 2 * MINUTE)]
    assert found == ["live", "ended"]
    assert len(store.untracked(since=before - 20 * MINUTE)) == 3
    assert len(store.untracked(since=before - 20 * MINUTE, limit=1)) == 1

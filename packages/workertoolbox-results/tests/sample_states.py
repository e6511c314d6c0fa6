"""A database with a task in every state."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from messages import message
from stored_tasks import MINUTE, publish, store_ended, store_state

from cadasta.workertoolbox.results import TaskStore
from cadasta.workertoolbox.results._monitor.message import read_task
from cadasta.workertoolbox.results._monitor.upserts import write_batch

#: Statuses of tasks with a row in the history.
ENDED = ("SUCCESS", "FAILURE", "REVOKED", "REJECTED", "IGNORED", "LOST")

#: All statuses that `fill` stores a task with; its id is the status in lower case.
STATUSES = (*ENDED, "QUEUED", "SCHEDULED", "PLANNED", "STARTED", "RETRY", "PROGRESS")

WORKER = "celery@host-1"


def fill(store: TaskStore) -> None:
    """Store a task in every state, published one minute after the other."""
    now = datetime.now(UTC).replace(microsecond=0)
    for number, status in enumerate(ENDED, 1):
        at = now - number * MINUTE
        failed = {"result": b'{"exc_type": "ValueError", "exc_message": ["no map"]}'}
        store_ended(
            store,
            status.lower(),
            at=at,
            status=status,
            name="maps.export",
            scheduled_at=at - timedelta(seconds=12),
            started_at=at - timedelta(seconds=10),
            seen_at=at,
            waited_s=2.0,
            worker=WORKER,
            retries=0,
            root_id=status.lower(),
            **(failed if status == "FAILURE" else {}),
        )
    before = now - 10 * MINUTE
    headers = {"task": "maps.render", "root_id": "queued"}
    chain = [{"task": "maps.mail", "args": [], "kwargs": {}, "options": {}}]
    chain[0]["options"] = {"task_id": "planned", "root_id": "queued"}
    body = [[1], {"size": 2}, {"chain": chain}]
    announcing = message(
        body,
        id="queued",
        workertoolbox_published_at=before.isoformat(),
        **headers,
    )
    with store.engine.begin() as connection:
        write_batch(connection, [read_task(announcing, seen_at=before)])
    eta = (now + timedelta(hours=1)).isoformat()
    publish(store, "export", "scheduled", at=before, eta=eta, task="maps.render")
    for state in ("STARTED", "RETRY", "PROGRESS"):
        id = state.lower()
        publish(store, "export", id, at=before, task="maps.render", root_id=id)
        store_state(store, id, state, at=before, worker=WORKER, name="maps.render")

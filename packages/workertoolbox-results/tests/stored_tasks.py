"""Messages, states and ended tasks in a database, as queries find them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from messages import message
from sqlalchemy import insert

from cadasta.workertoolbox.results import TaskStore
from cadasta.workertoolbox.results._database.tables import history, taskmeta
from cadasta.workertoolbox.results._history.rollup import add_contributions
from cadasta.workertoolbox.results._history.tally import Contribution
from cadasta.workertoolbox.results._monitor.message import read_task
from cadasta.workertoolbox.results._monitor.upserts import write_batch

MINUTE = timedelta(minutes=1)


def publish(
    store: TaskStore,
    queue: str,
    *ids: str,
    at: datetime | None = None,
    **headers: Any,
) -> None:
    """Store messages, as a monitor does; they are published now by default."""
    at = at or datetime.now(UTC)
    headers = {"workertoolbox_published_at": at.isoformat(), **headers}
    records = [
        read_task(message(id=id, routing_key=queue, **headers), seen_at=at)
        for id in ids
    ]
    with store.engine.begin() as connection:
        write_batch(connection, records)


def store_state(
    store: TaskStore,
    id: str,
    status: str,
    *,
    at: datetime | None = None,
    **values: Any,
) -> None:
    """Store a state, as a worker does."""
    at = at or datetime.now(UTC)
    row = {"task_id": id, "status": status, "date_done": at.replace(tzinfo=None)}
    with store.engine.begin() as connection:
        connection.execute(insert(taskmeta).values(**row, **values))


def store_ended(
    store: TaskStore,
    *ids: str,
    at: datetime | None = None,
    status: str = "SUCCESS",
    **values: Any,
) -> None:
    """Store tasks in the history and in the figures, as the archiver does."""
    at = at or datetime.now(UTC)
    row = {
        **{"keep": "default", "day": at.date(), "status": status, "name": "a"},
        **{"finished_at": at, "listed_at": at, "queue": "export"},
        **{"tracked": True, "forgotten": False, **values},
    }
    ended = Contribution(row["name"], row["queue"], status, at)
    with store.engine.begin() as connection:
        connection.execute(insert(history), [{"id": id, **row} for id in ids])
        add_contributions(connection, [ended] * len(ids))

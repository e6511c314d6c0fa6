"""Storing rows in the database, and counting them."""

from __future__ import annotations

from datetime import UTC, datetime

from celery import Celery, states
from celery.app.task import Context
from messages import message
from sqlalchemy import MetaData, func, select

from cadasta.workertoolbox.results._database.tables import metadata
from cadasta.workertoolbox.results._monitor.quarantine_record import quarantine_record
from cadasta.workertoolbox.results._monitor.upserts import write_batch
from cadasta.workertoolbox.results.backend import Backend

#: Tables without ids of tasks.
FIGURES = ("workertoolbox_rollup", "workertoolbox_backlog", "workertoolbox_day_value")


def row_counts(backend: Backend) -> dict[str, int]:
    """Return the number of rows by table, without empty tables and figures."""
    reflected = MetaData()
    reflected.reflect(backend.database.engine)
    with backend.database.engine.connect() as connection:
        counts = {
            name: connection.scalar(
                select(func.count()).select_from(reflected.tables[name])
            )
            for name in metadata.tables
            if name not in FIGURES
        }
    return {name: count for name, count in counts.items() if count}


def store_group_chord_and_quarantine(app: Celery, backend: Backend) -> None:
    """Store a group, a chord with a part, and two messages in quarantine."""
    app.GroupResult("g", [app.AsyncResult("2")]).save()
    request = Context(id="2", group="c", group_index=0, chord={"task": "body"})
    backend.on_chord_part_return(request, states.SUCCESS, 42)
    now = datetime.now(UTC)
    quarantined = [
        quarantine_record(message(id=id, root_id="1"), reason="x", seen_at=now)
        for id in ("1", "2")
    ]
    with backend.database.engine.begin() as connection:
        write_batch(connection, quarantined)

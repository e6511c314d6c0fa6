"""The watermark of monitors of this release and of earlier ones."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from celery import Celery
from kombu.message import Message
from sqlalchemy import delete, insert, select, text

from cadasta.workertoolbox.results import TaskStore
from cadasta.workertoolbox.results._database.tables import queued, task, watermark
from cadasta.workertoolbox.results._history.watermark import GRACE, WatermarkSweep
from cadasta.workertoolbox.results._monitor.message import read_task
from cadasta.workertoolbox.results._monitor.records import TaskRecord
from cadasta.workertoolbox.results._monitor.upserts import write_batch
from servers.postgresql import PostgreSQL
from support.brokers import Broker
from support.polling import wait_until
from support.task_commands import run_monitor


def sweep(store: TaskStore, until: datetime) -> None:
    """Advance the watermark."""
    with store.engine.begin() as connection:
        WatermarkSweep().advance(connection, until=until)


def record(id: str, age: timedelta) -> TaskRecord:
    """Return the record of a message that was seen some time ago."""
    message = Message(
        body="[[], {}, {}]",
        content_type="application/json",
        content_encoding="utf-8",
        headers={"id": id, "task": "export.project"},
    )
    return read_task(message, seen_at=datetime.now(UTC) - age)


def test_a_monitor_of_a_release_without_a_watermark_works_beside_a_new_one(
    database_store: TaskStore,
) -> None:
    """A monitor without a watermark only inserted rows for tasks."""
    now = datetime.now(UTC)
    columns = {name: None for name in ("args", "kwargs", "eta", "expires", "origin")}
    for number in range(3):
        sweep(database_store, datetime.now(UTC))
        with database_store.engine.begin() as connection:
            connection.execute(
                insert(task).values(
                    id=f"id{number}",
                    name="export.a",
                    queue="export",
                    root_id=f"id{number}",
                    replaced=0,
                    retries=0,
                    # The message waited in the queue until a monitor was started.
                    scheduled_at=now - timedelta(hours=3 - number),
                    seen_at=datetime.now(UTC),
                    ignore_result=False,
                    **columns,
                )
            )
        found = [task.id for task in database_store.stuck(timedelta(minutes=30))]
        assert found == [f"id{n}" for n in range(number + 1)]


@pytest.mark.parametrize("broker", ["rabbitmq"], indirect=True)
def test_a_monitor_advances_the_watermark(
    app: Celery, broker: Broker, store: TaskStore, tmp_path: Path
) -> None:
    with store.engine.begin() as connection:
        write_batch(connection, [record("old", timedelta(hours=1))])
        connection.execute(delete(queued))
    with (
        run_monitor(broker.environment, tmp_path),
        run_monitor(broker.environment, tmp_path),
    ):
        found = wait_until(lambda: queued_ids(store))

    assert found == ["old"]
    assert [task.id for task in store.stuck(timedelta(minutes=15))] == ["old"]
    assert swept_at(store) > datetime.now(UTC) - 2 * GRACE


def queued_ids(store: TaskStore) -> list[str]:
    """Return the ids of the queued tasks that a sweep has recorded."""
    with store.engine.connect() as connection:
        return list(connection.scalars(select(queued.c.task_id)))


def swept_at(store: TaskStore) -> datetime:
    """Return the watermark."""
    with store.engine.connect() as connection:
        at: datetime = connection.scalars(select(watermark.c.seen_at)).one()
        return at


def test_a_sweep_does_not_wait_for_another_one(
    postgresql: PostgreSQL,
) -> None:
    pytest.importorskip("psycopg2")
    with postgresql.database() as database, TaskStore(database) as store:
        now = datetime.now(UTC)
        with store.engine.begin() as one, store.engine.begin() as another:
            WatermarkSweep().advance(one, until=now - GRACE)
            # A sweep that waited would never get the lock.
            another.execute(text("SET LOCAL lock_timeout = '1s'"))
            WatermarkSweep().advance(another, until=now)

        assert swept_at(store) == now - GRACE

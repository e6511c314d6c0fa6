"""Tasks of an earlier release whose results were deleted before the upgrade."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from celery import states
from sqlalchemy import Column, MetaData, Table, Text, update

from cadasta.workertoolbox.results._database.tables import task
from cadasta.workertoolbox.results._database.types import Instant
from cadasta.workertoolbox.results._history.earlier_ends import close_earlier
from cadasta.workertoolbox.results._history.expired_tasks import close_expired
from support.task_histories import History

NOW = datetime.now(UTC)
UPGRADED = NOW - timedelta(hours=1)
BEFORE, AFTER = UPGRADED - timedelta(hours=1), UPGRADED + timedelta(minutes=1)

LEFTOVERS = MetaData()
QUEUED = Table("workertoolbox_queued", LEFTOVERS, Column("task_id", Text))
WATERMARK = Table(
    "workertoolbox_watermark",
    LEFTOVERS,
    *(Column(name, Instant) for name in ("seen_at", "expanded_at")),
)

EXPIRED = BEFORE.isoformat()


@pytest.fixture
def upgraded(past: History) -> Iterator[History]:
    """A database in which monitors of an earlier release have listed queued tasks.

    Their messages arrived before the upgrade, except that of task `later`.
    """
    LEFTOVERS.create_all(past.engine)
    for id in ("ended", "queued", "running", "later"):
        past.publish(id, expires=EXPIRED)
    past.store(states.STARTED, id="running")
    with past.engine.begin() as connection:
        is_later = task.c.id == "later"
        for seen_at, of_tasks in ((BEFORE, ~is_later), (AFTER, is_later)):
            connection.execute(update(task).where(of_tasks).values(seen_at=seen_at))
        connection.execute(QUEUED.insert().values(task_id="queued"))
        watermark = {"seen_at": NOW, "expanded_at": UPGRADED}
        connection.execute(WATERMARK.insert().values(**watermark))
    yield past
    LEFTOVERS.drop_all(past.engine)
    past.clear()


def shown(past: History) -> dict[str, str]:
    return {row["id"]: row["status"] for row in past.shown()}


def test_tasks_that_had_ended_are_not_queued(upgraded: History) -> None:
    past = upgraded
    with past.engine.begin() as connection:
        close_earlier(connection, NOW, past.options)
    found = shown(past)
    answered = past.app.AsyncResult("ended").state
    past.archive()
    [row] = past.rows()

    assert found == {
        "ended": "IGNORED",
        "queued": "QUEUED",
        "running": "STARTED",
        "later": "QUEUED",
    }
    assert answered == states.PENDING
    assert (row["id"], row["finished_at"]) == ("ended", row["scheduled_at"])


def test_tasks_that_had_ended_are_not_revoked(upgraded: History) -> None:
    with upgraded.engine.begin() as connection:
        close_expired(connection, NOW, upgraded.options)

    assert shown(upgraded) == {
        "ended": "QUEUED",
        "queued": "REVOKED",
        "running": "STARTED",
        "later": "REVOKED",
    }


def test_without_tables_of_an_earlier_release_all_tasks_may_wait(past: History) -> None:
    past.publish("1")
    with past.engine.begin() as connection:
        close_earlier(connection, NOW, past.options)
    found = shown(past)
    past.clear()

    assert found == {"1": "QUEUED"}

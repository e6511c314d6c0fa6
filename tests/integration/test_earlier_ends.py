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


def test_a_retry_whose_eta_is_ahead_has_not_ended(upgraded: History) -> None:
    past = upgraded
    for id, eta in {"waiting": NOW + timedelta(days=1), "due": NOW}.items():
        past.publish(id)
        past.publish(id, retries=1, eta=eta.isoformat())
    with past.engine.begin() as connection:
        of_these = task.c.id.in_(("waiting", "due"))
        connection.execute(update(task).where(of_these).values(seen_at=BEFORE))
        close_earlier(connection, NOW, past.options)
    found = shown(past)

    assert (found["waiting"], found["due"]) == ("SCHEDULED", "QUEUED")


@pytest.mark.parametrize("is_archived", [False, True])
@pytest.mark.parametrize("retries", [0, 1])
def test_a_task_that_had_not_ended_after_all_is_shown_with_its_end(
    upgraded: History, retries: int, is_archived: bool
) -> None:
    past = upgraded
    if retries:
        past.publish("ended", retries=retries)
    with past.engine.begin() as connection:
        connection.execute(update(task).values(seen_at=BEFORE))
        close_earlier(connection, NOW, past.options)
    before = shown(past)["ended"]
    if is_archived:
        past.archive()
    past.store(states.SUCCESS, 42, "ended", retries=retries)
    after = shown(past)["ended"]
    past.archive()
    [row] = [each for each in past.rows() if each["id"] == "ended"]

    assert (before, after) == ("IGNORED", "SUCCESS")
    assert (row["status"], row["result"], row["tracked"]) == ("SUCCESS", b"42", True)


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

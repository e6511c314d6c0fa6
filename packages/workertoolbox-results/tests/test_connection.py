"""The shared connection of a process after failed or interrupted statements."""

from __future__ import annotations

from typing import Any

import pytest
from billiard.exceptions import SoftTimeLimitExceeded
from celery import states
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError, OperationalError

from cadasta.workertoolbox.results import TaskStore
from cadasta.workertoolbox.results._database.statement import Statement, execute
from cadasta.workertoolbox.results.backend import Backend

FIRST = Statement("INSERT INTO workertoolbox_chord_part VALUES ('g', '1', 0, 'x', '')")
SECOND = Statement("UPDATE workertoolbox_chord_part SET result = ?", order=("value",))


class Interrupting:
    """A value whose conversion is interrupted by the time limit of a task."""

    def __conform__(self, _: object) -> object:
        raise SoftTimeLimitExceeded


def test_an_interrupted_statement_leaves_no_transaction_open(
    backend: Backend, store: TaskStore
) -> None:
    with pytest.raises(SoftTimeLimitExceeded):
        execute(backend.database, [FIRST, SECOND], {"value": Interrupting()})
    with store.engine.connect() as connection:
        query = text("SELECT count(*) FROM workertoolbox_chord_part")
        count = connection.execute(query).scalar_one()
    backend.store_result("1", 42, states.SUCCESS)

    assert count == 0
    assert store.get("1").result == 42


def test_a_closed_connection_is_opened_again(
    backend: Backend, store: TaskStore
) -> None:
    backend.store_result("1", 42, states.SUCCESS)
    with pytest.raises(DBAPIError), backend.database.connect() as connection:
        connection.execute(text("SELECT 1"))
        closed: Any = connection.connection.dbapi_connection
        closed.close()
        connection.execute(text("SELECT 1"))
    backend.store_result("2", 42, states.SUCCESS)
    backend.database.close()
    backend.store_result("3", 42, states.SUCCESS)

    assert {task.id for task in store.list()} == {"1", "2", "3"}


def test_the_connection_is_usable_after_an_error_of_the_database(
    backend: Backend, store: TaskStore
) -> None:
    invalid = Statement("SELECT nothing FROM nowhere_at_all WHERE x = :y")
    with pytest.raises(Exception, match="nowhere_at_all"):
        execute(backend.database, [invalid], {"y": 1})
    with pytest.raises(OperationalError), backend.database.connect() as connection:
        connection.execute(text("SELECT nothing FROM celery_taskmeta"))
    backend.store_result("1", 42, states.SUCCESS)

    assert store.get("1").result == 42

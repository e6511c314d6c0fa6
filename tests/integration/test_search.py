"""Searches of `TaskStore` on both databases."""

from __future__ import annotations

import time

import pytest
from sqlalchemy import text

from cadasta.workertoolbox.results import QueryTimeout, TaskStore
from support.brokers import result_backend_url

SLEEP = text("SELECT pg_sleep(:seconds)")


def test_postgresql_cancels_a_query_that_takes_too_long(database: str) -> None:
    with TaskStore(result_backend_url(database), timeout_s=0.3) as store:
        began = time.monotonic()
        with pytest.raises(QueryTimeout, match=r"cancelled after 0\.3"):
            with store._snapshot() as connection:
                connection.execute(SLEEP, {"seconds": 60})
        # Statements together: no further one begins.
        with pytest.raises(QueryTimeout):
            with store._snapshot() as connection:
                for _ in range(20):
                    connection.execute(SLEEP, {"seconds": 0.1})
        took_s = time.monotonic() - began

        assert took_s < 5
        assert store.list() == []


def test_a_shorter_limit_of_the_role_stays(database: str) -> None:
    url = f"{result_backend_url(database)}?options=-c%20statement_timeout%3D200ms"
    with TaskStore(url, timeout_s=60) as store:
        with pytest.raises(QueryTimeout, match=r"cancelled after 0\.2"):
            with store._snapshot() as connection:
                connection.execute(SLEEP, {"seconds": 30})

"""Queries that take too long."""

from __future__ import annotations

import time

import pytest
from sqlalchemy import text

from cadasta.workertoolbox.results import QueryTimeout, TaskStore

#: Counts for minutes.
ENDLESS = text(
    "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1e10)"
    " SELECT count(*) FROM n"
)


def test_a_query_that_takes_too_long_is_cancelled(url: str) -> None:
    with TaskStore(url, timeout_s=0.2) as store:
        began = time.monotonic()
        with pytest.raises(QueryTimeout, match="the query was cancelled after"):
            with store._snapshot() as connection:
                connection.execute(ENDLESS)
        took_s = time.monotonic() - began

        # The connection has no limit any more.
        with store.engine.connect() as connection:
            count = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n"
            query = text(f"{count} WHERE i < 1e6) SELECT count(*) FROM n")
            assert connection.scalar(query) == 1_000_000
    assert took_s < 30


@pytest.mark.parametrize("timeout_s", [0, -1, float("nan")])
def test_a_limit_must_be_positive(url: str, timeout_s: float) -> None:
    with pytest.raises(ValueError, match="timeout_s must be greater than 0, got"):
        TaskStore(url, timeout_s=timeout_s)

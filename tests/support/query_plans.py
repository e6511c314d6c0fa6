"""The plans that PostgreSQL makes for queries."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Engine, event

_EXPLAINED = re.compile(r"\s*(SELECT|WITH|INSERT|UPDATE|DELETE)\b")


@contextmanager
def record_plans(engine: Engine, options: str = "") -> Iterator[list[str]]:
    """Yield the plans of the statements that are executed in the block.

    Args:
        options: Options of `EXPLAIN`, such as `ANALYZE, BUFFERS`.
    """
    explain_statement = f"EXPLAIN ({options})" if options else "EXPLAIN"
    found: list[str] = []

    def explain(
        connection: Any, cursor: Any, statement: str, parameters: Any, *_: Any
    ) -> None:
        if _EXPLAINED.match(statement) and "pg_catalog" not in statement:
            with connection.connection.cursor() as explaining:
                explaining.execute(f"{explain_statement} {statement}", parameters)
                found.append("\n".join(line for [line] in explaining.fetchall()))

    event.listen(engine, "before_cursor_execute", explain)
    try:
        yield found
    finally:
        event.remove(engine, "before_cursor_execute", explain)


def sequential_scans(plan: str) -> set[str]:
    """Return the tables that a plan scans sequentially."""
    return set(re.findall(r"Seq Scan on (\w+)", plan))

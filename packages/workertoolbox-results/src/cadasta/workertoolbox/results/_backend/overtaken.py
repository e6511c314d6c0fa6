"""Retries whose state is stored after a state of the next run.

Celery publishes the next run of a task before the state `RETRY` of this one is stored.
A worker with nothing else to do can store a state of the next run first. It cannot be
replaced by the retry, which is then only kept among the attempts.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

from celery import states
from sqlalchemy import Dialect, Text, bindparam, func, text, update

from cadasta.workertoolbox.results._backend.attempts import SAME_RUN_S, late_record
from cadasta.workertoolbox.results._database.connection import Database
from cadasta.workertoolbox.results._database.statement import (
    Statement,
    compile_statement,
    execute,
)
from cadasta.workertoolbox.results._database.statuses import LOST
from cadasta.workertoolbox.results._database.tables import taskmeta
from cadasta.workertoolbox.results._history.attempt_records import MAX_ATTEMPTS

#: The attempts with the retry in its place. They may have the same run already: as
#: lost, because it had no end when the next one began, or if the statement is repeated.
_POSTGRESQL = f"""
(
    SELECT jsonb_agg(run ORDER BY run->>'started_at')
    FROM (
        SELECT run FROM (
            SELECT run FROM jsonb_array_elements(attempts) AS run
            WHERE NOT coalesce(
                run->>'outcome' IN ('{LOST}', '{states.RETRY}')
                AND run->'retries' = CAST(:record AS jsonb)->'retries'
                AND abs(extract(epoch FROM
                    CAST(run->>'started_at' AS timestamptz)
                    - CAST(CAST(:record AS jsonb)->>'started_at' AS timestamptz)
                )) < {SAME_RUN_S}, false)
            UNION ALL SELECT CAST(:record AS jsonb)
        ) AS runs ORDER BY run->>'started_at' DESC LIMIT {MAX_ATTEMPTS}
    ) AS last_runs
)
"""
_SQLITE = f"""
(
    SELECT json_group_array(json(run)) FROM (
        SELECT run FROM (
            SELECT run FROM (
                SELECT value AS run FROM json_each(coalesce(attempts, '[]'))
                WHERE NOT coalesce(
                    json_extract(value, '$.outcome') IN ('{LOST}', '{states.RETRY}')
                    AND json_extract(value, '$.retries')
                        = json_extract(:record, '$.retries')
                    AND 86400 * abs(
                        julianday(json_extract(value, '$.started_at'))
                        - julianday(json_extract(:record, '$.started_at'))
                    ) < {SAME_RUN_S}, false)
                UNION ALL SELECT :record
            ) ORDER BY json_extract(run, '$.started_at') DESC LIMIT {MAX_ATTEMPTS}
        ) ORDER BY json_extract(run, '$.started_at')
    )
)
"""


def keep_overtaken(database: Database, row: Mapping[str, Any]) -> None:
    """Store a retry among the attempts of a task, if a later run has stored a state.

    Args:
        row: The row of the retry, as the backend builds it.
    """
    record = late_record(row, states.RETRY)
    values = {name: row[name] for name in ("task_id", "retries")}
    statement = _add_retry(database.dialect)
    execute(database, [statement], {**values, "record": record})


@cache
def _add_retry(dialect: Dialect) -> Statement:
    attempts = text(_SQLITE if dialect.name == "sqlite" else _POSTGRESQL)
    column = taskmeta.c
    statement = (
        update(taskmeta)
        .where(
            column.task_id == bindparam("task_id", type_=column.task_id.type),
            func.coalesce(column.retries, 0)
            > bindparam("retries", type_=column.retries.type),
        )
        .values(attempts=attempts.bindparams(bindparam("record", type_=Text)))
    )
    return compile_statement(dialect, statement.inline())

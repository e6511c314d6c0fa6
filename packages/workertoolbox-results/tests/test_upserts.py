from __future__ import annotations

import itertools
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import pytest
from messages import message
from sqlalchemy import Engine, delete, select

from cadasta.workertoolbox.results._database.engine import database_url, open_engine
from cadasta.workertoolbox.results._database.tables import attempt, quarantine, task
from cadasta.workertoolbox.results._monitor.message import read_task
from cadasta.workertoolbox.results._monitor.quarantine_record import quarantine_record
from cadasta.workertoolbox.results._monitor.records import Record
from cadasta.workertoolbox.results._monitor.upserts import write_batch

NOW = datetime(2026, 6, 1, tzinfo=UTC)


def read(retries: int, *, replaced: int = 0, name: str = "export.project") -> Record:
    return read_task(
        message(
            [[retries], {}, {}],
            retries=retries,
            replaced_task_nesting=replaced,
            task=name,
            workertoolbox_published_at=f"2026-01-01T00:00:{replaced}{retries}+00:00",
        ),
        seen_at=NOW,
    )


def tables(url: str, *batches: Sequence[Record]) -> list[list[Any]]:
    engine = open_engine(database_url(url))
    rows = written(engine, *batches)
    engine.dispose()
    return rows


def written(engine: Engine, *batches: Sequence[Record]) -> list[list[Any]]:
    for batch in batches:
        with engine.begin() as connection:
            write_batch(connection, batch)
    with engine.connect() as connection:
        return [
            [tuple(row) for row in connection.execute(select(table))]
            for table in (task, attempt, quarantine)
        ]


MESSAGES = [read(0), read(1), read(2), read(0, replaced=1, name="export.other")]


@pytest.mark.parametrize("size", [1, 2, 4])
def test_the_rows_do_not_depend_on_order_or_batches(url: str, size: int) -> None:
    seen = []
    # One engine compiles the statements once.
    engine = open_engine(database_url(url))
    for order in itertools.permutations(MESSAGES):
        batches = [order[start : start + size] for start in range(0, 4, size)]
        tasks, attempts, _ = written(engine, *batches)
        seen.append((tasks, sorted(attempts)))
        with engine.begin() as connection:
            for table in (task, attempt):
                connection.execute(delete(table))
    engine.dispose()

    assert all(rows == seen[0] for rows in seen)
    [[row], attempts] = seen[0]
    values = dict(zip(task.c.keys(), row, strict=True))
    assert (values["name"], values["args"]) == ("export.other", [0])
    assert values["scheduled_at"] == datetime(2026, 1, 1, tzinfo=UTC)
    assert len(attempts) == 4


def test_writing_a_batch_again_changes_nothing(url: str) -> None:
    batch = [
        *MESSAGES,
        quarantine_record(message("x"), reason="not valid JSON", seen_at=NOW),
    ]
    once = tables(url, batch)
    twice = tables(url, batch, [*reversed(batch), *batch])

    assert once == twice
    assert [len(rows) for rows in once] == [1, 4, 1]

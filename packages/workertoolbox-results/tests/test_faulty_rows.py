"""Rows that cannot be processed do not stop the others."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from cadasta.workertoolbox.results import TaskStore
from cadasta.workertoolbox.results._history.faulty_rows import MAX_FAULTY, FaultyRows

FAULTY = [f"faulty-{number}" for number in range(3 * MAX_FAULTY)]


def process(
    store: TaskStore, rows: FaultyRows, given: Sequence[str], faulty: Sequence[str]
) -> list[str]:
    def check(some: Sequence[str]) -> Sequence[str]:
        for row in some:
            if row in faulty:
                raise ValueError(row)
        return some

    with store.engine.begin() as connection:
        return rows.process(connection, given, check, what="row")


def test_a_run_without_a_limit_finds_all_faulty_rows(
    store: TaskStore, caplog: pytest.LogCaptureFixture
) -> None:
    given = [*FAULTY, "last"]

    assert process(store, FaultyRows(limit=None), given, FAULTY) == ["last"]
    assert [f"row {row} is left out" in caplog.text for row in given] == [
        *(True for _ in FAULTY),
        False,
    ]


def test_a_mended_row_is_processed_although_many_others_stay_faulty(
    store: TaskStore,
) -> None:
    rows = FaultyRows()
    for _ in range(3):
        assert process(store, rows, FAULTY, FAULTY) == []
    [*others, mended] = FAULTY
    found = [process(store, rows, FAULTY, others) for _ in range(3)]

    assert mended in sum(found, [])

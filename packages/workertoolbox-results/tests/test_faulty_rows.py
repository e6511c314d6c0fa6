"""Rows that cannot be processed do not stop the others."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pytest
from sqlalchemy import Connection, create_engine, func, select
from sqlalchemy.exc import OperationalError
from stored_tasks import store_state

from cadasta.workertoolbox.results import TaskStore
from cadasta.workertoolbox.results._database.tables import taskmeta
from cadasta.workertoolbox.results._history import faulty_rows
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


def test_rows_before_and_after_a_faulty_one_are_processed(store: TaskStore) -> None:
    given = [*"abcdefg"]

    assert process(store, FaultyRows(), given, "d") == [*"abcefg"]
    assert process(store, FaultyRows(), [], "d") == []


def test_no_rows_are_not_processed(store: TaskStore) -> None:
    def refuse(some: Sequence[str]) -> Sequence[str]:
        raise AssertionError(f"{some} was processed")

    with store.engine.begin() as connection:
        assert FaultyRows().process(connection, [], refuse, what="row") == []


def test_a_run_looks_for_a_limited_number_of_faulty_rows(
    store: TaskStore, caplog: pytest.LogCaptureFixture
) -> None:
    rows = FaultyRows(limit=2)

    assert process(store, rows, "abcdefg", "bce") == ["a"]
    assert caplog.text.count("is left out") == 2
    # New rows are first, and "c" is not tried.
    assert process(store, rows, "abcdefg", "bce") == [*"adfg"]
    # What failed last is tried last.
    assert process(store, rows, "abcdefg", "") == [*"adfgceb"]
    assert process(store, FaultyRows(limit=1), "ab", "") == ["a", "b"]


def test_a_faulty_row_is_logged_once_with_its_error(
    store: TaskStore, caplog: pytest.LogCaptureFixture
) -> None:
    rows = FaultyRows()
    for _ in range(2):
        process(store, rows, ["a", "b\nc"], ["b\nc"])
    [record] = caplog.records

    assert record.getMessage() == (
        "row b\\nc is left out: b c; correct or delete its row"
    )


def test_a_row_that_was_mended_and_fails_again_is_logged_again(
    store: TaskStore, caplog: pytest.LogCaptureFixture
) -> None:
    rows = FaultyRows()
    for faulty in ("b", "", "b"):
        process(store, rows, "ab", faulty)

    assert caplog.text.count("row b is left out") == 2


def test_the_same_id_of_other_rows_is_another_row(
    store: TaskStore, caplog: pytest.LogCaptureFixture
) -> None:
    rows = FaultyRows()

    def fail(some: Sequence[int]) -> Sequence[int]:
        raise ValueError("no")

    with store.engine.begin() as connection:
        for what in ("task", "step"):
            rows.process(connection, [1], fail, what=what, key=lambda row: f"id {row}")

    assert "task id 1 is left out" in caplog.text
    assert "step id 1 is left out" in caplog.text


def test_the_number_of_remembered_rows_is_limited(
    store: TaskStore,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(faulty_rows, "MAX_LOGGED", 2)
    rows = FaultyRows()
    for id in "abbcac":
        process(store, rows, [id], [id])

    # The oldest one is forgotten first: "a" when "c" fails, then "b" when "a" does.
    assert [record.getMessage().split()[1] for record in caplog.records] == [*"abca"]


def test_what_a_faulty_row_has_written_is_rolled_back(store: TaskStore) -> None:
    engine = store.engine

    def write(connection: Connection, some: Sequence[str]) -> Iterator[str]:
        rows = [{"task_id": id, "status": "SUCCESS"} for id in some]
        connection.execute(taskmeta.insert(), rows)
        if "b" in some:
            raise ValueError("b")
        return iter(some)

    with engine.begin() as connection:
        done = FaultyRows().process(
            connection, "abc", lambda some: write(connection, some), what="row"
        )
        ids = connection.scalars(select(taskmeta.c.task_id)).all()

    assert done == sorted(ids) == ["a", "c"]


def test_an_outage_is_not_the_fault_of_a_row(
    store: TaskStore, caplog: pytest.LogCaptureFixture
) -> None:
    store_state(store, "1", "SUCCESS")
    other = create_engine(store.engine.url, connect_args={"timeout": 0})

    def write(some: Sequence[str]) -> Sequence[str]:
        with other.begin() as second:
            second.execute(taskmeta.delete())
        return some

    with store.engine.begin() as connection:
        connection.execute(taskmeta.update().values(status="FAILURE"))
        with pytest.raises(OperationalError, match="locked"):
            FaultyRows().process(connection, ["a"], write, what="row")
        assert connection.scalar(select(func.count()).select_from(taskmeta)) == 1
    other.dispose()

    assert "is left out" not in caplog.text

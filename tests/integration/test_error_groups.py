"""Groups of errors on each database: how they are counted, shown and erased."""

from __future__ import annotations

from contextlib import closing
from datetime import UTC, datetime, timedelta
from itertools import permutations
from pathlib import Path
from typing import Any

import pytest
from celery import states
from celery.app.task import Context
from sqlalchemy import Engine, RowMapping, create_engine, event, select

from cadasta.workertoolbox.results import (
    ErrorGroup,
    ErrorGroupNotFound,
    TaskStore,
    UnknownErrorState,
)
from cadasta.workertoolbox.results._database.tables import error_group, taskmeta
from cadasta.workertoolbox.results._history.archiver import archive_batch
from cadasta.workertoolbox.results._history.ended_tasks import ArchiveOptions
from cadasta.workertoolbox.results._history.erase import erase_task
from cadasta.workertoolbox.results._history.error_groups import (
    Occurrence,
    forget_samples,
    record_errors,
)
from cadasta.workertoolbox.results._history.stored_error import StoredError, read_error
from servers.access import BrokerAccess
from support.result_backends import REQUEST, app_with_backend
from support.worker_fleet import TIMEOUT_S, open_fleet

NOW = datetime.now(UTC)

#: Keys of two groups.
A, B = "1:00000000000000aa", "1:00000000000000bb"


def error(task_id: str, days_ago: float = 0, group: str = A, **more: Any) -> Occurrence:
    """Return an error whose name, type, place and text contain the id of its task."""
    stored = StoredError(f"Error{task_id}", f"place{task_id}", f"Error{task_id}: no")
    at = NOW - timedelta(days=days_ago)
    return Occurrence(group, task_id, f"export.{task_id}", at, stored, **more)


def record(engine: Engine, *errors: Occurrence, sign: Any = 1) -> None:
    with engine.begin() as connection:
        record_errors(connection, errors, sign)


def row(engine: Engine, group: str = A) -> RowMapping:
    with engine.connect() as connection:
        query = select(error_group).where(error_group.c.id == group)
        return connection.execute(query).mappings().one()


def ids(engine: Engine) -> set[str]:
    with engine.connect() as connection:
        return {*connection.scalars(select(error_group.c.id))}


def shown(store: TaskStore, state: str | None = None) -> dict[str, ErrorGroup]:
    return {group.id: group for group in store.error_groups(state=state)}


def test_the_order_in_which_errors_arrive_does_not_matter(engine: Engine) -> None:
    errors = [error("1", 3), error("2", 2, is_retry=True), error("3", 1)]
    rows = []
    for number, order in enumerate(permutations(errors)):
        group = f"1:{number:016x}"
        renamed = [each._replace(group=group) for each in order]
        record(engine, *renamed[:number])
        for each in renamed[number:]:
            record(engine, each)
        rows.append({**row(engine, group), "id": A})

    assert rows == [rows[0]] * 6
    assert rows[0] == {
        "id": A,
        "version": 1,
        "type": "Error3",
        "place": "place3",
        "name": "export.1",
        "sample": "Error3: no",
        "first_task_id": "1",
        "last_task_id": "3",
        "first_at": NOW - timedelta(days=3),
        "last_at": NOW - timedelta(days=1),
        "count": 3,
        "retries": 1,
        "state": "open",
        "resolved_at": None,
    }


def test_errors_that_are_subtracted_leave_the_others(engine: Engine) -> None:
    record(engine, error("1", 2), error("2", 1, is_retry=True), error("3", group=B))
    before = row(engine)
    record(engine, error("2", 1, is_retry=True), error("3", group=B), sign=-1)
    after = row(engine)
    record(engine, error("3", group=B), error("4", group="unknown"), sign=-1)

    assert (after["count"], after["retries"]) == (1, 0)
    assert {**after, "count": 2, "retries": 1} == before
    assert row(engine, B)["count"] == 0
    assert ids(engine) == {A, B}


def test_the_errors_of_a_task_are_counted_when_it_is_archived(
    engine: Engine, result_backend: str, database_store: TaskStore
) -> None:
    app = app_with_backend(result_backend)
    backend: Any = app.backend
    with closing(backend.database):
        for retries, state in enumerate((states.RETRY, states.FAILURE)):
            request = Context({**vars(REQUEST), "retries": retries})
            backend.store_result("1", OSError(state), state, request=request)
    with engine.begin() as connection:
        assert archive_batch(connection, ArchiveOptions(delay_s=-60)) == 1
    failed, retried = database_store.error_groups()

    assert (retried.count, retried.retries) == (failed.count, 1) == (1, 1)
    assert (failed.retries, failed.state) == (0, "new")
    assert (retried.sample, failed.sample) == ("OSError: RETRY", "OSError: FAILURE")
    assert {each.last_task_id for each in (retried, failed)} == {"1"}
    assert database_store.get("1").status == states.FAILURE


def test_a_batch_is_one_statement_in_a_savepoint(engine: Engine) -> None:
    record(engine)
    statements = []
    event.listen(
        *(engine, "before_cursor_execute"),
        lambda connection, cursor, statement, *_: statements.append(statement),
    )
    record(engine, *(error("1", group=f"1:{number}") for number in range(500)))
    first_words = [each.split()[0] for each in statements]

    assert first_words == ["SAVEPOINT", "INSERT", "RELEASE"]
    assert len(ids(engine)) == 500


def test_a_group_has_a_state_by_its_age(
    engine: Engine, database_store: TaskStore
) -> None:
    ages = {"new": (0.5, 0.1), "ongoing": (30, 14), "quiet": (30, 16)}
    for state, (first, last) in ages.items():
        record(engine, error("1", first, group=state), error("2", last, group=state))

    assert [each.state for each in shown(database_store).values()] == [*ages]
    for state in ages:
        assert [*shown(database_store, state)] == [state]
    for state in ("back", "resolved", "ignored"):
        assert not shown(database_store, state)


def test_a_resolved_group_is_back_with_its_next_error(
    engine: Engine, database_store: TaskStore
) -> None:
    record(engine, error("1", 2))
    database_store.resolve_error_group(A)
    resolved = shown(database_store)[A]
    record(engine, error("2", 1))  # It occurred before, but was archived later.
    late = shown(database_store, "resolved")[A]
    record(engine, error("3", -1))
    back = shown(database_store)[A]
    database_store.resolve_error_group(A)
    again = shown(database_store)[A]
    database_store.reopen_error_group(A)
    opened = shown(database_store)[A]

    assert resolved.state == "resolved"
    assert resolved.resolved_at is not None
    assert late.count == 2
    assert (back.state, back.sample) == ("back", "Error3: no")
    assert again.state == "resolved"  # Even if the clock of the worker is ahead.
    assert (opened.state, opened.resolved_at) == ("ongoing", None)


def test_an_ignored_group_stays_ignored(
    engine: Engine, database_store: TaskStore
) -> None:
    record(engine, error("1", 2))
    database_store.ignore_error_group(A)
    record(engine, error("2", -1))

    assert shown(database_store)[A].state == "ignored"


def test_groups_are_sorted_by_their_latest_error(
    engine: Engine, database_store: TaskStore
) -> None:
    record(engine, error("1", 2), error("2", 1, group=B))
    newest_first = list(shown(database_store))
    [newest] = database_store.error_groups(limit=1)
    record(engine, error("1", 2), sign=-1)

    assert newest_first == [B, A]
    assert newest.id == B
    assert list(shown(database_store)) == [B]  # The other group has no errors left.


def test_an_unknown_group_or_state_is_an_error(database_store: TaskStore) -> None:
    for change in (
        database_store.resolve_error_group,
        database_store.ignore_error_group,
        database_store.reopen_error_group,
    ):
        with pytest.raises(ErrorGroupNotFound, match="'1:no'"):
            change("1:no")
    with pytest.raises(UnknownErrorState, match="'solved'; the states are new, "):
        database_store.error_groups(state="solved")


def test_an_erased_task_leaves_no_text_and_no_id(
    engine: Engine, database_store: TaskStore
) -> None:
    record(engine, error("1", 3), error("2", 2), error("3", 1, group=B))
    erasures = [list(erase_task(engine, id)) for id in ("1", "2")]
    erased, other = row(engine), row(engine, B)

    assert all(erasures)
    assert (erased["first_task_id"], erased["last_task_id"]) == (None, None)
    assert (erased["sample"], erased["count"]) == (None, 2)
    assert (other["last_task_id"], other["sample"]) == ("3", "Error3: no")


def test_the_next_error_after_an_erasure_is_the_new_sample(engine: Engine) -> None:
    record(engine, error("1", 3))
    with engine.begin() as connection:
        forget_samples(connection, ["1"])
    record(engine, error("2", 1))

    assert (row(engine)["sample"], row(engine)["last_task_id"]) == ("Error2: no", "2")
    assert row(engine)["first_task_id"] is None


def test_a_pool_process_and_its_worker_group_errors(
    access: BrokerAccess, database: str, tmp_path: Path
) -> None:
    with open_fleet(access, database, tmp_path) as fleet:
        sent = [
            fleet.app.send_task("export.fail"),
            fleet.app.send_task("export.fail"),
            fleet.app.send_task("export.wait", ["never"], time_limit=1),
            fleet.app.send_task("export.wait", ["never"], time_limit=1),
        ]
        with fleet.worker("-Q", "export,celery", "-P", "prefork", "-c", "2"):
            for each in sent:
                each.get(timeout=TIMEOUT_S, propagate=False)
    engine = create_engine(database)
    columns = (taskmeta.c.name, taskmeta.c.result, taskmeta.c.error_group)
    with engine.connect() as connection:
        rows = connection.execute(select(*columns).order_by(taskmeta.c.name)).all()
    engine.dispose()
    names, results, groups = zip(*rows, strict=True)
    errors = [read_error(result) for result in results]

    assert names == ("export.fail", "export.fail", "export.wait", "export.wait")
    assert [error.place for error in errors] == ["result_service.fail"] * 2 + [None] * 2
    assert {error.type for error in errors[2:]} == {
        "billiard.exceptions.TimeLimitExceeded"
    }
    assert groups[0] == groups[1] != groups[2] == groups[3]
    assert None not in groups

"""Queries of `TaskStore` over many tasks: their results and their plans."""

from __future__ import annotations

import itertools
import random
import re
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from operator import itemgetter
from typing import Any

import pytest
from sqlalchemy import func, insert, select, text

from cadasta.workertoolbox.results import TaskStore
from cadasta.workertoolbox.results._database.tables import (
    history,
    planned,
    task,
    taskmeta,
)
from cadasta.workertoolbox.results._database.view import tasks
from cadasta.workertoolbox.results._history.archiver import archive_batch
from cadasta.workertoolbox.results._history.ended_tasks import ArchiveOptions
from servers.postgresql import PostgreSQL
from support.brokers import result_backend_url
from support.query_plans import record_plans, sequential_scans
from support.random_tasks import (
    MAX_AGE,
    NOW,
    archive,
    change_some,
    insert_rows,
    random_details,
    random_rows,
)
from support.sample_tasks import LISTINGS, insert_sample_tasks


@pytest.fixture
def store(result_backend: str) -> Iterator[TaskStore]:
    """The task store of each result backend in turn."""
    with TaskStore(result_backend) as store:
        yield store


def view_rows(store: TaskStore) -> list[Any]:
    """Return all rows of the view, with the times that lists are sorted by."""
    query = (
        select(
            tasks,
            taskmeta.c.date_done,
            history.c.finished_at.label("ended_at"),
            planned.c.seen_at,
        )
        .outerjoin_from(tasks, taskmeta, tasks.c.id == taskmeta.c.task_id)
        .outerjoin(history, tasks.c.id == history.c.id)
        .outerjoin(planned, tasks.c.id == planned.c.id)
    )
    with store.engine.connect() as connection:
        return list(connection.execute(query))


def list_from_view(
    rows: list[Any], *, by_state: bool = False, **wanted: str | None
) -> list[str]:
    """Return the ids that `TaskStore.list` should return, from the whole view."""
    never = datetime.min.replace(tzinfo=UTC)

    def age(row: Any) -> tuple[bool, datetime]:
        if row.status == "PLANNED":
            return False, row.seen_at
        stored_at = row.date_done and row.date_done.replace(tzinfo=UTC)
        stored_at = stored_at or row.ended_at
        at = stored_at if by_state or row.scheduled_at is None else row.scheduled_at
        return True, at or never

    shown = [
        row
        for row in rows
        if not (row.name or "").startswith("celery.")
        and all(getattr(row, n) == v for n, v in wanted.items() if v is not None)
    ]
    return [row.id for row in sorted(shown, key=age, reverse=True)]


def listings(by_state: set[str]) -> Iterator[tuple[dict[str, Any], bool]]:
    """Yield filters, and whether the tasks are listed by their latest state."""
    statuses = (None, "SUCCESS", "QUEUED", "SCHEDULED", "PLANNED", *sorted(by_state))
    for name, queue, worker, status in itertools.product(
        (None, "export.a"), (None, "msg"), (None, "one@host"), statuses
    ):
        wanted = {"name": name, "queue": queue, "worker": worker, "status": status}
        yield wanted, worker is not None or status in by_state


OF_STATE = {"FAILURE", "STARTED", "RETRY", "PROGRESS"}


@pytest.mark.parametrize("seed", range(2))
def test_a_list_has_the_newest_rows_of_the_whole_view(
    store: TaskStore, seed: int
) -> None:
    insert_rows(store.engine, random_rows(seed, 200))
    compared = 0
    chance = random.Random(seed)
    # Results are deleted before and after they are archived.
    for until in (None, NOW - MAX_AGE / 2, None, NOW, None):
        if until is None:
            change_some(store.engine, chance)
        else:
            archive(store, until)
        rows = view_rows(store)
        for wanted, by_state in listings(OF_STATE):
            expected = list_from_view(rows, by_state=by_state, **wanted)
            for limit in (1, 10, 1000):
                found = [each.id for each in store.list(limit=limit, **wanted)]
                assert found == expected[:limit], wanted
                compared += len(found)

    assert compared > 1000


def answers(store: TaskStore) -> dict[str, Any]:
    """Return the answers of the store about all tasks."""
    everything = store.list(limit=1000, internal=True)
    found: dict[str, Any] = {
        str(wanted): store.list(limit=1000, **wanted)
        for wanted, _ in listings(OF_STATE)
    }
    found["view"] = sorted(
        row[: len(tasks.c)] for row in sorted(view_rows(store), key=itemgetter(0))
    )
    for each in everything:
        found[f"get {each.id}"] = store.get(each.id)
        found[f"attempts {each.id}"] = store.attempts(each.id)
        found[f"published {each.id}"] = store.published_attempts(each.id)
        for find in (store.workflow, store.children):
            found[f"{find.__name__} {each.id}"] = find(each.id, internal=True)
    return found


def test_archiving_changes_no_answer(store: TaskStore) -> None:
    rows = random_rows(1, 60)
    del rows[planned]  # The archiver ends steps after a failed task.
    insert_rows(store.engine, rows)
    change_some(store.engine, random.Random(1))
    before = answers(store)
    archived = [0]
    for until in (NOW - MAX_AGE / 2, datetime.now(UTC)):
        archive(store, until)
        with store.engine.connect() as connection:
            count = select(func.count()).select_from(history)
            archived.append(connection.scalar(count) or 0)
        after = answers(store)
        for question, answer in before.items():
            assert after[question] == answer, question

    assert archived[0] < archived[1] < archived[2]


@pytest.mark.parametrize("seed", range(3))
def test_workflows_and_children_are_the_same_as_in_the_whole_view(
    store: TaskStore, seed: int
) -> None:
    rows = random_rows(seed, 200)
    insert_rows(store.engine, rows)
    change_some(store.engine, random.Random(seed))
    lineages = (*rows[task], *rows[taskmeta], *rows[planned])
    roots = {row["root_id"] for row in lineages}
    for until in (None, NOW - MAX_AGE / 2, NOW):
        if until is not None:
            archive(store, until)
        shown = view_rows(store)
        for find, column in (
            (store.workflow, "root_id"),
            (store.children, "parent_id"),
        ):
            for root in roots:
                ids = {row.id for row in shown if getattr(row, column) == root}
                assert {each.id for each in find(root, internal=True)} == ids
    assert len(roots) == 50
    assert max(len(store.workflow(root)) for root in roots) > 1


#: What the outline of a workflow leaves out, besides the results of successes.
LEFT_OUT: dict[str, Any] = dict.fromkeys(
    (
        *("args", "kwargs", "traceback", "result_bytes"),
        *("origin", "service", "schedule", "headers", "arguments"),
    )
)


def test_the_outline_of_a_workflow_says_the_same_of_each_task(store: TaskStore) -> None:
    rows = random_details(random_rows(1, 200), 1)
    insert_rows(store.engine, rows)
    change_some(store.engine, random.Random(1))
    archive(store, NOW - MAX_AGE / 2)
    roots = {row["root_id"] for row in rows[task]}
    compared = 0
    for root in roots:
        whole = {each.id: each for each in store.workflow(root, internal=True)}
        for each in store.workflow_of(root, outline=True):
            same = whole[each.id]
            result = None if same.status == "SUCCESS" else same.result
            assert each == replace(same, result=result, **LEFT_OUT)
            compared += 1

    assert compared > 100


@pytest.mark.parametrize("age", [40, 120])
def test_a_workflow_is_read_from_all_of_its_days(store: TaskStore, age: int) -> None:
    begin = datetime.now(UTC) - timedelta(days=age)
    ends = [begin + timedelta(days=n) for n in range(0, age, 7)]
    rows: list[dict[str, Any]] = [
        {
            **{"id": f"id{n}", "keep": "default", "day": at.date(), "name": "maps.a"},
            **{"status": "SUCCESS", "root_id": "id0", "tracked": True},
            **{"scheduled_at": begin, "finished_at": at, "listed_at": begin},
            **{"forgotten": False, "parent_id": "id0" if n else None},
        }
        for n, at in enumerate(ends)
    ]
    with store.engine.begin() as connection:
        if connection.dialect.name == "postgresql":
            for row in rows:
                add = "SELECT workertoolbox_add_day('default', :day)"
                connection.execute(text(add), {"day": row["day"]})
        connection.execute(insert(history), rows)
    ids = [row["id"] for row in rows]

    for outline in (False, True):
        found = store.workflow_of("id1", outline=outline)
        assert sorted(each.id for each in found) == sorted(ids)


@pytest.mark.parametrize("seed", range(3))
def test_stuck_tasks_are_the_same_as_in_the_whole_view(
    store: TaskStore, seed: int
) -> None:
    insert_rows(store.engine, random_rows(seed, 200))
    change_some(store.engine, random.Random(seed))
    before = NOW - MAX_AGE / 2

    def since(row: Any) -> datetime:
        due_at = max(filter(None, (row.scheduled_at, row.eta)), default=before)
        if row.status == "QUEUED":
            return due_at
        stored_at: datetime = (row.date_done or NOW).replace(tzinfo=UTC)
        if row.status == "PROGRESS":
            return row.started_at or stored_at
        if row.status == "RETRY" and row.eta is not None and row.eta >= before:
            return NOW
        return stored_at

    query = select(tasks, taskmeta.c.date_done).outerjoin_from(
        tasks, taskmeta, tasks.c.id == taskmeta.c.task_id
    )
    with store.engine.connect() as connection:
        rows = [
            row
            for row in connection.execute(query)
            if row.status in ("QUEUED", "STARTED", "RETRY", "PROGRESS")
            and since(row) < before
        ]
    expected = [row.id for row in sorted(rows, key=since)]
    assert len(expected) > 20
    for until in (None, NOW - MAX_AGE * 0.7, NOW):
        if until is not None:
            archive(store, until)
        for limit in (1, 10, 1000):
            longer_than = datetime.now(UTC) - before
            found = store.stuck(longer_than, limit=limit, internal=True)
            assert [each.id for each in found] == expected[:limit]


#: The tables with so many rows that an index is faster.
BIG_TABLES = "SELECT relname FROM pg_class WHERE reltuples > 5000 AND relkind = 'r'"

#: Number of tasks in the test of the plans.
TASK_COUNT = 12_000

#: Inserts planned steps whose messages never arrive.
INSERT_PLANNED_STEPS = f"""
INSERT INTO workertoolbox_planned (id, name, root_id, parent_id, seen_at)
SELECT 'never' || n, 'export.' || n % 50, 'root' || n, 'root' || n,
    now() - n * interval '1 s'
FROM generate_series(1, {TASK_COUNT}) n
"""


@pytest.fixture(scope="module")
def large(postgresql: PostgreSQL) -> Iterator[TaskStore]:
    """A store of 12,000 tasks, most of them in the history."""
    pytest.importorskip("psycopg2")
    with ExitStack() as stack:
        database = stack.enter_context(postgresql.database())
        store = stack.enter_context(TaskStore(result_backend_url(database)))
        with store.engine.begin() as connection:
            insert_sample_tasks(connection, TASK_COUNT)
            connection.execute(text(INSERT_PLANNED_STEPS))
            while archive_batch(connection, ArchiveOptions(batch_size=10_000)):
                pass
        with store.engine.connect() as connection:
            connection.execution_options(isolation_level="AUTOCOMMIT")
            connection.execute(text("VACUUM ANALYZE"))
        yield store


@pytest.mark.parametrize("wanted", LISTINGS.values(), ids=LISTINGS)
def test_a_list_scans_no_big_table(large: TaskStore, wanted: dict[str, Any]) -> None:
    with record_plans(large.engine) as found:
        large.list(**wanted)

    assert_no_big_table_is_scanned(large, found)


QUERIES = (
    *("", "name:export.3", "name:export.rare,export.2", "queue:queue3 run:>10s"),
    *("status:failure,revoked", "status:failure name:export.3 error:x"),
    *("worker:worker7@host", "error_group:1-3", "status:queued,scheduled", "export.1"),
    *(
        "id:{id}",
        "root:{root}",
        "parent:{root}",
        "group:none",
        "args.0:1 name:export.3",
    ),
)


def test_a_search_scans_no_big_table(large: TaskStore) -> None:
    [child, *_] = [task for task in large.list(limit=100) if task.parent_id]
    with record_plans(large.engine) as found:
        for query in QUERIES:
            filled = query.format(id=child.id, root=child.root_id)
            page = large.search(filled, limit=10)
            assert page.tasks or query
            if page.next is not None:
                assert large.search(filled, limit=10, page=page.next).tasks

    assert_no_big_table_is_scanned(large, found)


@pytest.mark.parametrize(
    "query", ["args.0:none", "args.order.0.id:none", "header.tenant:none"]
)
def test_a_search_for_json_in_the_history_uses_its_index(
    large: TaskStore, query: str
) -> None:
    with record_plans(large.engine) as found:
        assert not large.search(query).tasks
    plans = [plan for plan in found if "ix_workertoolbox_history_listed_at" in plan]

    for index in ("args_kwargs_headers", "listed_at_idx1"):
        assert any("BitmapOr" in plan and index in plan for plan in found)
    assert plans == []


def test_long_runs_are_found_without_others(large: TaskStore) -> None:
    with record_plans(large.engine) as found:
        assert not large.search("run:>10s").tasks
    plan, *_ = [plan for plan in found if "on workertoolbox_history_default" in plan]

    assert re.search(r"listed_at_idx[1-9] on workertoolbox_history_default", plan)


def test_a_search_by_status_reads_only_the_newest_tasks(large: TaskStore) -> None:
    with record_plans(large.engine) as found:
        tasks = large.search("status:failure name:*.*", limit=20).tasks
    plan, *_ = [plan for plan in found if "on workertoolbox_history_default" in plan]

    assert [task.status for task in tasks] == ["FAILURE"] * 20
    # PostgreSQL expects a full page. If it expects a few tasks, it reads and sorts all.
    assert re.match(r"Limit .* rows=21 ", plan)


INSERT_COMMON_VALUES = f"""
INSERT INTO workertoolbox_history (id, keep, day, status, finished_at, listed_at,
    tracked, forgotten, kwargs)
SELECT n, 'default', current_date, 'SUCCESS', now() - n * interval '1 s',
    now() - n * interval '1 s', true, false,
    jsonb_build_object('n', n, 'even', n % 2 = 0)
FROM generate_series(1, {TASK_COUNT}) n
"""


def test_a_search_for_a_common_value_reads_only_the_newest_tasks(
    postgresql: PostgreSQL,
) -> None:
    with postgresql.database() as database:
        store = TaskStore(result_backend_url(database))
        with store.engine.connect() as connection:
            connection.execution_options(isolation_level="AUTOCOMMIT")
            today = "SELECT workertoolbox_add_day('default', current_date)"
            for statement in (today, INSERT_COMMON_VALUES, "VACUUM ANALYZE"):
                connection.execute(text(statement))
        with record_plans(store.engine) as found:
            tasks = store.search("args.even:true", limit=10).tasks
        store.close()

    assert [task.id for task in tasks] == [str(2 * n) for n in range(1, 11)]
    plan, *_ = [plan for plan in found if "large IS NULL" in plan]
    assert "Incremental Sort" in plan


INSERT_OLD_QUEUE = f"""
INSERT INTO workertoolbox_history (id, keep, day, status, finished_at, listed_at,
    tracked, forgotten, worker, queue, name, traceback)
SELECT n, 'default', current_date, 'SUCCESS', now() - n * interval '1 s',
    now() - n * interval '1 s', true, false, 'a@host', kind, 'export.b',
    repeat('x', 500)
FROM generate_series(1, {TASK_COUNT}) n, LATERAL (
    SELECT CASE WHEN n > {TASK_COUNT // 2} AND n % 2 = 0 THEN 'old' ELSE 'new' END kind
) kinds
"""


INSERT_WAITING = """
INSERT INTO workertoolbox_task (id, name, queue, replaced, retries, scheduled_at,
    ignore_result, seen_at)
VALUES ('waiting', 'export.a', 'old', 0, 0, now(), false, now())
"""


@pytest.fixture(scope="module")
def uneven(postgresql: PostgreSQL) -> Iterator[TaskStore]:
    """A store with a waiting task, whose name and queue hardly any ended task has."""
    with postgresql.database() as database:
        with TaskStore(result_backend_url(database)) as store:
            with store.engine.connect() as connection:
                connection.execution_options(isolation_level="AUTOCOMMIT")
                today = "SELECT workertoolbox_add_day('default', current_date)"
                for statement in (
                    *(today, INSERT_OLD_QUEUE, INSERT_WAITING),
                    "VACUUM ANALYZE",
                ):
                    connection.execute(text(statement))
            yield store


def test_an_explanation_reads_the_last_ends_of_a_queue_without_those_of_others(
    uneven: TaskStore,
) -> None:
    with record_plans(uneven.engine, "ANALYZE") as found:
        reason = uneven.why("waiting")

    assert reason.evidence["workers"] == ["a@host"]
    [plan] = [plan for plan in found if "worker IS NOT NULL" in plan]
    assert "Rows Removed" not in plan


def test_the_latest_tasks_of_a_name_and_a_queue_are_read_without_others(
    uneven: TaskStore,
) -> None:
    with record_plans(uneven.engine, "ANALYZE") as found:
        services, queues = uneven.services(), uneven.backlog()
    latest = [plan for plan in found if "unnest" in plan]

    assert [each.name for each in services] == ["export.a"]
    assert [each.queue for each in queues] == ["old"]
    assert len(latest) == 3
    assert "Rows Removed" not in "".join(latest)


@pytest.mark.parametrize("path", ["args.a" + ".0" * 49, "header" + ".0" * 50])
def test_a_long_path_takes_no_longer_than_a_short_one(
    store: TaskStore, path: str
) -> None:
    # Each `0` may be a key or a position, so there are 2^49 forms of the document.
    assert store.search(f"{path}:none").tasks == []


def test_other_queries_scan_no_big_table(large: TaskStore) -> None:
    [first, *_] = large.list(status="FAILURE")
    [child, *_] = [task for task in large.list(limit=100) if task.parent_id]
    with record_plans(large.engine) as found:
        assert large.get(first.id) == first
        assert len(large.workflow(child.root_id or "")) >= 4
        assert len(large.children(child.parent_id or "")) >= 3
        assert large.workflow("nobody") == large.children("nobody") == []
        [stuck, *_] = large.stuck(timedelta(minutes=15))
        assert large.stuck(timedelta(minutes=15), name=stuck.name)
        assert large.find("nobody") is None

    assert_no_big_table_is_scanned(large, found)


def assert_no_big_table_is_scanned(store: TaskStore, found: Sequence[str]) -> None:
    """Check that no plan scans a big table sequentially."""
    with store.engine.connect() as connection:
        big = {*connection.scalars(text(BIG_TABLES))}
    assert any(name.startswith("workertoolbox_history") for name in big)
    assert found
    for plan in found:
        assert not sequential_scans(plan) & big, plan

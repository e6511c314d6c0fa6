"""Searches of `TaskStore` on both databases."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from threading import Event

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from sqlalchemy import select, text

from cadasta.workertoolbox.results import QueryTimeout, Task, TaskStore
from cadasta.workertoolbox.results._database.tables import history, planned
from cadasta.workertoolbox.results._database.view import live
from cadasta.workertoolbox.results._history.archiver import archive_batch
from cadasta.workertoolbox.results._history.ended_tasks import ArchiveOptions
from cadasta.workertoolbox.results._query.fields import FIELDS, Kind
from cadasta.workertoolbox.results._query.nodes import (
    EVERYTHING,
    Bound,
    Match,
    Node,
    Value,
    all_of,
    any_of,
    leaves,
    negated,
)
from support.brokers import result_backend_url
from support.query_oracle import holds
from support.random_tasks import (
    MAX_AGE,
    NOW,
    archive,
    change_some,
    insert_rows,
    random_details,
    random_rows,
)
from support.statements import fetch

SLEEP = text("SELECT pg_sleep(:seconds)")


def test_postgresql_cancels_a_query_that_takes_too_long(database: str) -> None:
    with TaskStore(result_backend_url(database), timeout_s=0.3) as store:
        began = time.monotonic()
        with pytest.raises(QueryTimeout, match="the query was cancelled after"):
            with store._snapshot() as connection:
                connection.execute(SLEEP, {"seconds": 60})
        # Statements together: no further one begins.
        with pytest.raises(QueryTimeout):
            with store._snapshot() as connection:
                for _ in range(20):
                    connection.execute(SLEEP, {"seconds": 0.1})
        took_s = time.monotonic() - began

        assert took_s < 30
        with store.engine.connect() as connection:
            assert connection.scalar(text("SHOW statement_timeout")) == "0"


def test_a_query_that_takes_too_long_says_what_to_do(database: str) -> None:
    with (
        TaskStore(result_backend_url(database), timeout_s=0.1) as store,
        store.engine.begin() as connection,
    ):
        connection.execute(text("LOCK workertoolbox_task, celery_taskmeta"))
        connection.execute(text("LOCK workertoolbox_quarantine"))
        for query, advice in (
            (store.backlog, "the database is busy or locked, so try again; or give"),
            (store.count_quarantined, "the database is busy or locked, so try again"),
            (partial(store.why, "1"), "the database is busy or locked, so try again"),
            (store.list, "to narrow it: add a name or a queue; or give"),
            (store.services, r"to narrow it: give a later since \(--since\); or give"),
        ):
            with pytest.raises(QueryTimeout, match=advice):
                query()


TERMINATE = (
    "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity"
    " WHERE datname = current_database() AND pid <> pg_backend_pid()"
)


def test_a_store_replaces_the_connections_that_the_server_has_closed(
    database: str,
) -> None:
    with TaskStore(result_backend_url(database)) as store:
        store.list(limit=1)
        closed = [fetch(database, TERMINATE)]
        tasks = store.list(limit=1)
        closed.append(fetch(database, TERMINATE))
        with store.engine.connect() as connection:
            one = connection.scalar(text("SELECT 1"))

        assert (closed, tasks, one) == ([[(1,)], [(1,)]], [], 1)


def test_a_shorter_limit_of_the_role_stays(database: str) -> None:
    url = f"{result_backend_url(database)}?options=-c%20statement_timeout%3D200ms"
    with TaskStore(url, timeout_s=60) as store:
        with pytest.raises(QueryTimeout) as caught:
            with store._snapshot() as connection:
                connection.execute(SLEEP, {"seconds": 60})

        assert caught.value.after_s < 30


@pytest.fixture
def store(result_backend: str) -> Iterator[TaskStore]:
    """The task store of each result backend in turn."""
    with TaskStore(result_backend) as store:
        yield store


TEXTS = (
    *("id1*", "id12", "id0", "export.a", "export.?", "*chord*", "msg", "one@host"),
    *("t*", "web", "nightly", "1@web", "1-a", "group1", "acme", "4711", "12.5", "true"),
    *(
        "null",
        "some/*",
        "a",
        "*",
        "7",
        "x",
        "c",
        "none",
        "a\0b",
        "\ud800",
        str(2**62 + 1),
    ),
)
PATHS = (
    *(("0",), ("1",), ("1", "0"), ("order_id",), ("path",), ("order", "id")),
    *(("order", "0"), ("order", "0", "id"), ("order", "2", "0"), ("order", "é")),
    *(("big",), ('a."b',), ("tenant",), ("tenant", "0"), ("trace", "id"), ("no", "x")),
)
PARTS = ("connection REFUSED", "ValueError", "100%_é [X]", "or?er", "db", ": ", "x")
STATUSES = ("SUCCESS", "FAILURE", "STARTED", "RETRY", "PROGRESS", "QUEUED", "PLANNED")


def a_condition() -> st.SearchStrategy[Node]:
    found: list[st.SearchStrategy[Node]] = []
    for name, field in FIELDS.items():
        if field.kind in (Kind.NUMBER, Kind.DURATION):
            operators = st.sampled_from([">", ">=", "<", "<=", "="])
            numbers = [0.0, 10.0, 30.0, 90.0]
            if field.kind == Kind.DURATION:
                numbers.append(0.5)
            number = st.sampled_from(numbers)
            found.append(st.builds(Bound, st.just(name), operators, number))
            continue
        texts = {
            Kind.STATUS: (*STATUSES, "SCHEDULED"),
            Kind.FLAG: ("yes", "no"),
            Kind.PART: PARTS,
        }.get(field.kind, TEXTS)
        value = st.sampled_from(texts).map(Value)
        if field.kind in (Kind.PATTERN, Kind.JSON):
            value |= st.sampled_from(texts).map(lambda text: Value(text, quoted=True))
        if field.kind is Kind.PART:
            value = st.sampled_from(texts).map(lambda text: Value(text, quoted=True))
        path = st.sampled_from(PATHS) if field.has_path else st.just(())
        values = st.lists(value, min_size=1, max_size=2).map(tuple)
        found.append(st.builds(Match, st.just(name), values, path))
    return st.one_of(found)


a_query: st.SearchStrategy[Node] = st.just(EVERYTHING) | st.recursive(
    a_condition(),
    lambda inner: (
        st.lists(inner, min_size=2, max_size=3).map(lambda parts: all_of(*parts))
        | st.lists(inner, min_size=2, max_size=2).map(lambda parts: any_of(*parts))
        | inner.map(negated)
    ),
    max_leaves=4,
)


def error_groups(store: TaskStore) -> dict[str, str | None]:
    with store.engine.connect() as connection:
        return {
            id: group
            for table in (history, live)
            for id, group in connection.execute(select(table.c.id, table.c.error_group))
        }


def all_pages(store: TaskStore, query: str, *, limit: int) -> list[Task]:
    found: list[Task] = []
    page = None
    while True:
        answer = store.search(query, limit=limit, page=page)
        assert len(answer.tasks) <= limit
        found += answer.tasks
        page = answer.next
        if page is None:
            return found


def test_a_search_finds_the_tasks_for_which_the_query_holds(store: TaskStore) -> None:
    insert_rows(store.engine, random_details(random_rows(3, 80), 3))
    change_some(store.engine, random.Random(3))
    archive(store, NOW - MAX_AGE / 2)
    everything = store.list(limit=1000, internal=True)
    groups = error_groups(store)
    assert {task.status for task in everything} >= {*STATUSES, "SCHEDULED"}
    matched = 0

    @settings(max_examples=40, deadline=None, database=None, derandomize=True)
    @example(Bound("run", "<", 10.0), 500)
    @example(Bound("wait", "<", 10.0), 500)
    # PostgreSQL has an index of runs of at least ten seconds.
    @example(Bound("run", ">=", 10.0), 17)
    @example(Bound("run", ">", 10.0), 17)
    @given(a_query, st.sampled_from([17, 500]))
    def check(query: Node, limit: int) -> None:
        nonlocal matched
        shows_internal = {leaf.field for leaf in leaves(query)} & {"name", "id"}
        expected = {
            task.id
            for task in everything
            if (shows_internal or not task.internal) and holds(query, task, groups)
        }
        found = [task.id for task in all_pages(store, str(query), limit=limit)]
        matched += 0 < len(found) < len(everything)

        assert len(found) == len({*found})
        assert {*found} == expected

    check()
    assert matched > 15


@pytest.mark.parametrize("query", ["", "status:failure,success", "worker:*host"])
def test_each_task_is_on_one_page_while_an_archiver_runs(
    store: TaskStore, query: str
) -> None:
    rows = random_rows(5, 120)
    del rows[planned]  # A step moves to the front when it is published.
    insert_rows(store.engine, rows)
    expected = [task.id for task in store.search(query, limit=500).tasks]
    first = store.search(query, limit=7)
    found, page = [*first.tasks], first.next
    archived = Event()

    def run_archiver() -> None:
        options = ArchiveOptions(delay_s=0, batch_size=5)
        while True:
            with store.engine.begin() as connection:
                if not archive_batch(connection, options):
                    break
            archived.set()

    with ThreadPoolExecutor() as threads:
        archiver = threads.submit(run_archiver)
        assert archived.wait(60)
        while page is not None:
            answer = store.search(query, limit=7, page=page)
            found += answer.tasks
            page = answer.next
        archiver.result()

    assert [task.id for task in found] == expected
    assert len(expected) > 30

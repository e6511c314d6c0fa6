"""Searches with pages, followed tasks, and the commands that use them."""

from __future__ import annotations

import csv
import json
import sys
from datetime import UTC, datetime, timedelta
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from celery import Celery, states
from celery.bin.celery import celery
from click.testing import CliRunner, Result
from messages import message
from stored_tasks import store_state

from cadasta.workertoolbox.results import (
    InvalidPage,
    InvalidQuery,
    InvalidWindow,
    QueryTimeout,
    TaskStore,
)
from cadasta.workertoolbox.results._history.archiver import archive_batch
from cadasta.workertoolbox.results._history.ended_tasks import ArchiveOptions
from cadasta.workertoolbox.results._monitor.message import read_task
from cadasta.workertoolbox.results._monitor.upserts import write_batch
from cadasta.workertoolbox.results._query.parser import parse_query
from cadasta.workertoolbox.results._store.search.methods import advise
from cadasta.workertoolbox.results._store.search.request import Search
from cadasta.workertoolbox.results.backend import Backend

START = datetime.now(UTC) - timedelta(hours=1)


def publish(
    store: TaskStore, *numbers: int, start: datetime = START, **values: Any
) -> None:
    """Store messages of tasks; two tasks were published each second."""
    records = [
        read_task(
            message(
                id=f"id{number}",
                workertoolbox_published_at=(
                    start + timedelta(seconds=number // 2)
                ).isoformat(),
                **values,
            ),
            seen_at=datetime.now(UTC),
        )
        for number in numbers
    ]
    with store.engine.begin() as connection:
        write_batch(connection, records)


def archive(store: TaskStore) -> None:
    with store.engine.begin() as connection:
        archive_batch(connection, ArchiveOptions(delay_s=0))


def run(app: Celery, *words: str) -> Result:
    return CliRunner().invoke(celery, ["-A", app, "tasks", *words])  # type: ignore[list-item]


@pytest.mark.parametrize("limit", [1, 2, 3])
def test_each_task_is_on_one_page_while_others_arrive_and_are_archived(
    backend: Backend, store: TaskStore, limit: int
) -> None:
    publish(store, *range(10))
    backend.store_result("untracked", 1, states.SUCCESS)
    found, page, number = [], None, 10
    while True:
        answer = store.search(limit=limit, page=page)
        found += [task.id for task in answer.tasks]
        page = answer.next
        if page is None:
            break
        # Later than the latest state of the untracked task.
        publish(store, number, start=datetime.now(UTC))
        backend.store_result(f"id{len(found) % 10}", 1, states.SUCCESS)
        archive(store)
        number += 1

    assert found[0] == "untracked"
    assert found[1:] == [f"id{number}" for number in reversed(range(10))]


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("args.order_id:5", ["id2", "id0"]),
        ("args.order_id:4711", ["id1"]),
        ("origin:gen17@host args.order_id:5", ["id0"]),
        ("run:>10s", ["id2"]),
        ("run:<10s OR run:>1h", ["id1"]),
    ],
)
def test_a_live_task_with_the_run_of_another_message_is_found_by_that_run(
    store: TaskStore, query: str, found: list[str]
) -> None:
    publish(store, 0, 1, 2, body=[[], {"order_id": 5}, {}], origin="gen17@host")
    ended_at = datetime.now(UTC)
    for id, order, run_s in (("id1", 4711, 2), ("id2", 5, 20)):
        store_state(
            store,
            id,
            states.SUCCESS,
            at=ended_at,
            started_at=ended_at - timedelta(seconds=run_s),
            published_at=START - timedelta(minutes=1),
            retries=0,
            kwargs=json.dumps({"order_id": order}).encode(),
        )

    assert [task.id for task in store.search(query).tasks] == found


def test_a_page_belongs_to_its_query_and_keeps_its_window(store: TaskStore) -> None:
    publish(store, *range(6))
    since = START + timedelta(seconds=1)
    first = store.search("queue:export", since=since, limit=2)
    second = store.search(" queue:export ", limit=9, page=first.next)

    assert [task.id for task in second.tasks] == ["id3", "id2"]
    assert first.next is not None
    assert first.next.replace("-", "").replace("_", "").isalnum()
    with pytest.raises(InvalidPage, match="belongs to another query"):
        store.search("queue:msg", page=first.next)
    with pytest.raises(InvalidPage, match="belongs to another query"):
        store.search("queue:export", page=first.next, internal=True)


@pytest.mark.parametrize("page", ["", "x", "é", "e30", "WzFd", "A" * 10_000, "bnVsbA"])
def test_a_malformed_page_is_refused(store: TaskStore, page: str) -> None:
    with pytest.raises(InvalidPage, match="is not a page token; use the token"):
        store.search(page=page)


def test_a_status_that_no_task_can_have_is_refused_at_its_column(
    backend: Backend, store: TaskStore
) -> None:
    backend.store_result("1", {}, "Uploading")

    assert [task.id for task in store.search("status:Uploading").tasks] == ["1"]
    for text, hint in (
        ("a status:sucess", "no task has the status sucess; did you mean success?"),
        ("a status:pending", "did you mean queued?"),
        ("a status:xyzzy", "statuses are "),
        ('a status:"failure"', "no task has the status failure; write failure without"),
    ):
        with pytest.raises(InvalidQuery, match="column 3 of the query") as caught:
            store.search(text)
        assert hint in str(caught.value)


def test_a_window_must_begin_before_it_ends(store: TaskStore) -> None:
    with pytest.raises(InvalidWindow):
        store.search(since=START, until=START)


@pytest.mark.parametrize(
    ("query", "advice"),
    [
        ("args.x:1", "give since (--since), such as 2h; or add name:… or queue:…"),
        ("args.x:1*", "because args has no index"),
        ("args.x:1 error:x", "because error has no index"),
        ("name:a args.x:1", "such as 2h; or give TaskStore a longer timeout_s"),
    ],
)
def test_a_query_that_takes_too_long_says_what_to_narrow(
    query: str, advice: str
) -> None:
    error = QueryTimeout(advise(Search(query=parse_query(query))), after_s=30)
    assert advice in str(error)


def test_a_search_that_takes_too_long_is_cancelled(url: str, backend: Backend) -> None:
    with TaskStore(url, timeout_s=1e-9) as store:
        publish(store, *range(500))
        with pytest.raises(QueryTimeout, match="to narrow it: give since"):
            store.search("args.a.b.c:1 OR error:x", limit=500)


def test_new_tasks_and_ends_are_followed_once(
    backend: Backend, store: TaskStore
) -> None:
    publish(store, 0)
    backend.store_result("old", 1, states.SUCCESS)
    looks = store.follow("id:id* OR id:untracked", every_s=0)
    seen = []

    def look() -> list[tuple[str, str]]:
        return [(task.id, task.status) for task in next(looks)]

    seen.append(look())
    publish(store, 1, 2)
    backend.store_result("id2", 1, states.SUCCESS)
    seen.append(sorted(look()))
    seen.append(look())
    backend.store_result("id1", 1, states.STARTED)
    backend.store_result("id0", ValueError("x"), states.FAILURE)
    backend.store_result("untracked", 1, states.SUCCESS)
    archive(store)
    seen.append(look())
    backend.store_result("other", 1, states.SUCCESS)
    seen.append(look())

    assert seen == [
        [],
        [("id1", "QUEUED"), ("id2", "SUCCESS")],
        [],
        [("id0", "FAILURE"), ("untracked", "SUCCESS")],
        [],
    ]


def test_list_shows_pages_of_a_query(app: Celery, store: TaskStore) -> None:
    publish(store, *range(5))
    words = ("list", "--json", "--limit", "2", "--query", "queue:export OR name:x")
    result = run(app, *words)
    more = result.stderr.split("--page ")[1].strip()
    rest = run(app, *words, "--page", more, "--all")

    assert [json.loads(line)["id"] for line in result.stdout.splitlines()] == [
        "id4",
        "id3",
    ]
    assert [json.loads(line)["id"] for line in rest.stdout.splitlines()] == [
        "id2",
        "id1",
        "id0",
    ]
    table = run(app, "list", "--limit", "2")
    assert table.stderr == "there are older tasks: add --all, or raise --limit\n"
    assert "id4" in run(app, "list", "--since", "2h", "--utc").stdout
    assert "id4" not in run(app, "list", "--until", "2h").stdout


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (("--query", "stauts:x"), "a text with a colon\n  stauts:x\n  ^"),
        (("--query", "a status:x", "--name", "b"), "column 3 of the query"),
        (("--since", "soon"), "'soon' is not a time; write a time back from now"),
        (("--page", "x"), "'x' is not a page token"),
        (("--since", "1h", "--until", "2h"), "must be before until"),
        (("--status", "FAILUR"), "did you mean 'FAILURE'?"),
    ],
)
def test_wrong_use_is_one_error_and_exit_code_2(
    app: Celery, store: TaskStore, words: tuple[str, ...], error: str
) -> None:
    publish(store, 1)
    result = run(app, "list", *words)

    assert result.exit_code == 2
    assert error in result.output
    assert "Traceback" not in result.output


def test_tasks_are_exported_as_ndjson_and_csv(
    app: Celery, backend: Backend, store: TaskStore, tmp_path: Path
) -> None:
    publish(store, *range(3))
    backend.store_result("id0", {"a": "é,\n"}, states.SUCCESS)
    file = tmp_path / "tasks.csv"
    lines = run(app, "export", "--query", "id:id*").stdout.splitlines()
    result = run(app, "export", "--format", "csv", "--output", str(file))
    with file.open(newline="", encoding="utf-8") as opened:
        rows = list(csv.DictReader(opened))

    assert [json.loads(line)["id"] for line in lines] == ["id2", "id1", "id0"]
    assert result.exit_code == 0, result.output
    assert [row["id"] for row in rows] == ["id2", "id1", "id0"]
    assert json.loads(rows[2]["result"]) == {"a": "é,\n"}
    assert rows[0].keys() == json.loads(lines[0]).keys()
    assert [*tmp_path.glob(".*partial")] == []


def test_a_failed_export_leaves_the_file_as_it_was(
    app: Celery, store: TaskStore, tmp_path: Path
) -> None:
    file = tmp_path / "tasks"
    file.write_text("before")
    result = run(app, "export", "--query", "status:xyzzy", "--output", str(file))

    assert result.exit_code == 2
    assert file.read_text() == "before"
    assert [*tmp_path.glob(".*")] == []
    missing = run(app, "export", "--output", str(tmp_path / "no" / "file"))
    assert missing.exit_code == 1
    assert "No such file" in missing.output


def test_parquet_needs_a_file_and_pyarrow(
    app: Celery, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    file = str(tmp_path / "tasks.parquet")

    assert run(app, "export", "--format", "parquet").exit_code == 2
    result = run(app, "export", "--format", "parquet", "--output", file)
    assert result.exit_code == 1
    assert "run pip install pyarrow" in result.output


def test_tasks_are_exported_as_parquet(
    app: Celery, store: TaskStore, tmp_path: Path
) -> None:
    parquet: Any = import_module("pyarrow.parquet")
    publish(store, *range(3))
    file = tmp_path / "tasks.parquet"
    result = run(app, "export", "--format", "parquet", "--output", str(file))
    rows = parquet.read_table(file).to_pylist()

    assert result.exit_code == 0, result.output
    assert [row["id"] for row in rows] == ["id2", "id1", "id0"]
    assert rows[2]["scheduled_at"] == START

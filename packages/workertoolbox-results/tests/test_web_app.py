"""The app around the pages: its paths, its headers, and its error pages."""

from __future__ import annotations

import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from threading import Event
from typing import Any

import pytest
from sqlalchemy import event
from starlette.applications import Starlette
from starlette.routing import Mount
from starlette.testclient import TestClient

from cadasta.workertoolbox.results import (
    DatabaseUnavailable,
    QueryTimeout,
    TaskStore,
    upgrade,
)
from cadasta.workertoolbox.results._database.engine import database_url, open_engine
from cadasta.workertoolbox.results.web import create_app, turns
from cadasta.workertoolbox.results.web.outage_log import OutageLog
from cadasta.workertoolbox.results.web.problems import problem_of
from cadasta.workertoolbox.results.web.site import PAGES, VERSION


@pytest.fixture
def client(store: TaskStore) -> Iterator[TestClient]:
    with TestClient(create_app(store)) as client:
        yield client


@pytest.mark.parametrize("name", PAGES)
def test_each_page_is_shown_for_an_empty_database(
    client: TestClient, name: str
) -> None:
    response = client.get("/" if name == "overview" else f"/{name}")

    assert response.status_code == 200
    assert f"<h1>{PAGES[name].title}" in response.text


def test_a_page_may_only_load_files_of_the_app(client: TestClient) -> None:
    headers = client.get("/").headers

    assert headers["content-security-policy"].startswith("default-src 'none'; ")
    assert "unsafe" not in headers["content-security-policy"]
    assert headers["cache-control"] == "no-store"


def test_links_start_with_the_path_of_the_mount(store: TaskStore) -> None:
    outer = Starlette(routes=[Mount("/ops/tasks", create_app(store))])
    with TestClient(outer) as client:
        page = client.get("/ops/tasks/workers")
        missing = client.get("/ops/tasks/nothing")

    assert 'href="/ops/tasks/queues"' in page.text
    assert 'href="/ops/tasks/queues"' in missing.text
    assert missing.status_code == 404


def test_links_start_with_the_prefix(store: TaskStore) -> None:
    with TestClient(create_app(store, prefix="/ops")) as client:
        page = client.get("/ops/workers")

    assert 'href="/ops/queues"' in page.text


def test_static_files_are_kept_by_browsers(client: TestClient) -> None:
    page = client.get("/").text
    path = page.partition('<link rel="stylesheet" href="')[2].partition('"')[0]
    response = client.get(path)

    assert response.status_code == 200
    assert "max-age" in response.headers["cache-control"]


def test_proxies_that_refuse_encoded_slashes_serve_static_files(
    client: TestClient,
) -> None:
    page = client.get("/").text
    links = re.findall('(?:href|src)="(/static/[^"]+)"', page)

    assert f"/static/{VERSION}/vendor/htmx.min.js" in links
    assert not [each for each in links if "%" in each or "//" in each]


def test_an_unknown_task_is_a_page_that_names_it(client: TestClient) -> None:
    response = client.get("/tasks/gone%2F<b>")

    assert response.status_code == 404
    assert "gone/&lt;b&gt;" in response.text


def test_an_unknown_path_of_the_api_is_a_problem_document(client: TestClient) -> None:
    response = client.get("/api/v1/nothing")

    assert response.status_code == 404
    assert response.headers["content-type"] == "application/problem+json"
    assert response.json()["status"] == 404


def test_pages_wait_for_the_upgrade_of_the_database(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    url = f"sqlite:///{tmp_path}/later.sqlite3"
    engine = open_engine(database_url(url))
    with (
        TaskStore.from_engine(engine) as store,
        TestClient(create_app(store)) as client,
    ):
        before = client.get("/")
        assert client.get("/api/v1/tasks").status_code == 503
        upgrade(url)
        after = client.get("/")

    assert before.status_code == 503
    assert "tasks upgrade" in before.text
    assert after.status_code == 200
    [line] = [each for each in caplog.messages if "pages cannot be shown" in each]
    assert "has no tables of the toolbox; run" in line


def test_an_outage_is_logged_once_and_again_after_ten_minutes(
    caplog: pytest.LogCaptureFixture,
) -> None:
    now = 0.0
    log = OutageLog(clock=lambda: now)
    error = DatabaseUnavailable("no\nhost")
    logged = []
    # Seconds between two failed requests; after a minute, the outage was over.
    for pause in (0, 5, 59, *[50] * 12, 61, 5):
        now += pause
        log.add(error)
        logged.append(len(caplog.messages))

    assert logged == [*[1] * 13, *[2] * 2, 3, 3]
    assert {*caplog.messages} == {"pages cannot be shown: no host"}


def test_a_page_says_that_all_connections_are_in_use(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/busy.sqlite3"
    upgrade(url)
    engine = open_engine(
        database_url(url), pool_size=1, max_overflow=0, pool_timeout=0.01
    )
    with (
        TaskStore.from_engine(engine) as store,
        TestClient(create_app(store)) as client,
    ):
        with engine.connect():
            busy = client.get("/tasks")
        later = client.get("/tasks")

    assert busy.status_code == 503
    assert "all connections to the database are in use" in busy.text
    assert later.status_code == 200


@pytest.mark.parametrize(
    ("narrow", "advice"),
    [
        ("", "the database is busy or locked, so try again"),
        ("give a later since (--since)", "to narrow it: give a later since"),
    ],
)
def test_a_page_advises_what_its_viewers_can_do_after_a_timeout(
    narrow: str, advice: str
) -> None:
    problem = problem_of(QueryTimeout(narrow, 10))

    assert problem.status == 504
    assert problem.detail == f"the query was cancelled after 10 s; {advice}"


def test_pages_that_wait_for_the_database_leave_threads_for_others(
    store: TaskStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(turns, "AT_ONCE", 2)
    monkeypatch.setattr(turns, "PATIENCE_S", 0.1)
    is_fast = Event()
    is_fast.set()

    @event.listens_for(store.engine, "before_cursor_execute")
    def wait(*_: Any) -> None:
        is_fast.wait()

    with TestClient(create_app(store)) as client, ThreadPoolExecutor(3) as pool:
        before = [client.get("/tasks").status_code for _ in range(3)]
        is_fast.clear()
        waiting = [pool.submit(client.get, "/tasks") for _ in range(3)]
        try:
            refused = next(as_completed(waiting, timeout=10)).result()
        finally:
            is_fast.set()
        answers = sorted(each.result().status_code for each in waiting)
        after = client.get("/tasks").status_code

    assert before == [200] * 3
    assert refused.headers["retry-after"] == "10"
    assert "too many pages wait for the database" in refused.text
    assert answers == [200, 200, 503]
    assert after == 200

"""The pages `/queues`, `/workers` and `/services`."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from threading import Event, Thread, current_thread
from typing import Any
from urllib.parse import unquote_plus

import pytest
from celery import states
from polling import eventually
from sqlalchemy import event
from starlette.testclient import TestClient
from stored_tasks import MINUTE, publish, store_ended, store_state
from web_pages import (
    HOSTILE,
    SHOWN_HOSTILE,
    filled_store,
    hrefs_of,
    open_app,
    page_of,
    rows_of,
)

from cadasta.workertoolbox.results import QueueBacklog, TaskStore
from cadasta.workertoolbox.results._headers import SERVICE
from cadasta.workertoolbox.results._history.backlog import sample_backlog
from cadasta.workertoolbox.results.web import create_app
from cadasta.workertoolbox.results.web.answers.refresher import Refresher
from cadasta.workertoolbox.results.web.pages import queues, services, workers

PODS = [f"celery@export-7c9f8d6b5-{end}" for end in ("x2lz9", "b4qwr")]


@pytest.fixture(scope="module")
def store(
    template: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[TaskStore]:
    with filled_store(template, tmp_path_factory.mktemp("fleet")) as store:
        _fill(store)
        yield store


def _fill(store: TaskStore) -> None:
    now = datetime.now(UTC)
    sent = {"task": "maps.load", SERVICE: "beat"}
    publish(store, "imports", "i1", at=now - timedelta(days=2), **sent)
    publish(store, "imports", "i2", at=now - 40 * MINUTE, **sent)
    publish(store, HOSTILE, "h", at=now, **{"task": HOSTILE, SERVICE: HOSTILE})
    with store.engine.begin() as connection:
        sample_backlog(connection, now - 2 * timedelta(hours=1))
    publish(store, "export", "e1", "e2", "e3", at=now - 20 * MINUTE)
    for id, pod in zip(("e1", "e2"), PODS, strict=True):
        at = now - (15 if id == "e1" else 1) * MINUTE
        values = {"queue": "export", "worker": pod, "started_at": at}
        store_state(store, id, states.STARTED, at=at, name="export.project", **values)
    started: dict[str, Any] = {"at": now - timedelta(days=2), "name": "late"}
    started |= {"queue": HOSTILE, "worker": HOSTILE}
    store_state(store, "e0", states.STARTED, **started)
    store_ended(store, "d1", "d2", at=now - 2 * MINUTE, worker="ready@host")
    failed = {"status": states.FAILURE, "worker": "ready@host"}
    store_ended(store, "d3", at=now - 2 * MINUTE, **failed)
    store_ended(store, "d4", at=now - 20 * MINUTE, worker="quiet@host")
    store_ended(store, "d5", at=now - 300 * MINUTE, worker="old@host")
    store_ended(store, "d6", at=now - MINUTE, worker=HOSTILE, queue=HOSTILE)


@pytest.fixture(scope="module")
def client(store: TaskStore) -> Iterator[TestClient]:
    with open_app(store) as client:
        yield client


def test_a_queue_whose_tasks_no_worker_consumes_is_said_in_words(
    client: TestClient,
) -> None:
    page = page_of(client, "/queues")
    [notice] = page.all(class_="notice")

    assert notice.text.startswith("2 tasks wait in imports, and no worker consumes it")
    assert notice.one("code").text == "celery -A proj worker -Q imports"
    by_queue = {row[0]: row for row in rows_of(page)}
    assert by_queue["imports"][9] == "none"


def test_a_queue_is_consumed_if_its_tasks_run_and_no_worker_stores_its_name() -> None:
    now = datetime.now(UTC)
    idle = QueueBacklog(queue="idle", queued=1, counted_at=now)
    ended = replace(idle, queue="ended", ended_at=now)
    busy = replace(idle, queue="busy", running=1)
    named = replace(idle, queue="named", consumers=["w@host"])
    empty = replace(idle, queue="empty", queued=0)
    uncounted = replace(idle, queue="uncounted", queued=None)

    unnamed = [idle, ended, busy, empty, uncounted]
    assert queues.find_unserved(unnamed) == [idle]
    assert queues.find_unserved([*unnamed, named]) == [idle, ended, busy]


def test_a_queue_has_its_tasks_its_workers_and_its_last_hours(
    client: TestClient,
) -> None:
    page = page_of(client, "/queues")
    rows = rows_of(page)

    assert [row[0] for row in rows] == ["imports", SHOWN_HOSTILE, "export"]
    waiting, oldest, running = (rows[2][place] for place in (1, 3, 6))
    assert (waiting, running) == ("1", "2")
    assert oldest.startswith("20.") and oldest.endswith(" min")
    assert rows[2][9].endswith("celery@export-* × 2quiet@hostready@host")
    links = hrefs_of(page.all("tr")[3])
    assert links["export"] == "/tasks?query=queue%3Aexport&since=all"
    assert links["2"] == "/tasks?query=queue%3Aexport+status%3Astarted&since=all"
    [chart, *_] = page.all("svg", class_="sparkline")
    label = "Waiting in imports in the last 3 h: at most 2"
    assert chart.attributes["aria-label"] == label


@pytest.mark.parametrize("url", ["/queues", "/workers"])
def test_a_number_leads_to_as_many_tasks(client: TestClient, url: str) -> None:
    page = page_of(client, url)
    links = [each for row in page.all("tbody") for each in row.all("a")]
    numbers = [each for each in links if each.text.isdecimal()]

    assert len(numbers) >= 3
    for each in numbers:
        tasks = page_of(client, each.attributes["href"])
        assert len(rows_of(tasks)) == int(each.text), each.attributes["href"]


def test_a_notice_about_waiting_tasks_leads_to_them(client: TestClient) -> None:
    [notice] = page_of(client, "/queues").all(class_="notice")
    tasks = page_of(client, notice.one("a").attributes["href"])

    assert {row[0] for row in rows_of(tasks)} == {"i1", "i2"}


def test_steps_without_a_sample_have_no_bar(store: TaskStore) -> None:
    now = datetime.now(UTC)
    samples = store.backlog_samples(
        since=now - timedelta(hours=3), step=timedelta(minutes=9)
    )
    bars = queues.charts_of(samples, now)["imports"]

    assert len(bars) in (20, 21)
    assert [each for each in bars if each is not None] == [2.0]


def test_a_worker_shows_what_it_runs_and_whether_it_is_silent(
    client: TestClient,
) -> None:
    page = page_of(client, "/workers")
    by_name = {row[0]: row for row in rows_of(page)}

    assert by_name.keys() == {*PODS, "ready@host", "quiet@host", SHOWN_HOSTILE}
    states_ = [by_name[name][1] for name in (*PODS, "ready@host", "quiet@host")]
    assert states_ == ["silent", "running", "ready", "silent"]
    assert by_name[PODS[1]][4].startswith("export.project 1.")
    assert by_name["ready@host"][5:] == ["3", "33.3 %"]
    assert by_name[PODS[0]][5:] == ["0", "–"]
    links = hrefs_of(page.one("tbody"))
    assert links["33.3 %"].startswith("/tasks?query=worker%3Aready%40host+status")
    [notice] = page.all(class_="notice")
    assert f"{PODS[0]} was last seen 15." in notice.text
    assert notice.one("a").attributes["href"] == "/tasks/e1"


def test_a_worker_that_was_seen_earlier_is_shown_for_a_longer_time(
    client: TestClient,
) -> None:
    recent = page_of(client, "/workers").one("tbody").text
    earlier = page_of(client, "/workers?since=24h")

    assert "old@host" not in recent
    assert "old@host" in earlier.one("tbody").text
    assert earlier.one("a", aria_current="true").text == "seen within 24 hours"


def test_services_are_shown_with_tasks_that_nobody_runs(client: TestClient) -> None:
    page = page_of(client, "/services")
    rows = {(row[0], row[1], row[2]): row[3] for row in rows_of(page)}
    unrun = rows_of(page_of(client, "/services?run=no"))

    runners = rows["untracked", "a", "export"]
    assert runners == "old@hostquiet@host1 more ready@host"
    assert rows[SHOWN_HOSTILE, SHOWN_HOSTILE, SHOWN_HOSTILE] == "not run yet"
    assert rows["beat", "maps.load", "imports"] == "not run yet"
    assert {row[1] for row in unrun} == {"maps.load", SHOWN_HOSTILE}
    assert {row[3] for row in unrun} == {"not run yet"}


@pytest.mark.parametrize("name", ["queues", "workers", "services"])
def test_names_stay_text(client: TestClient, name: str) -> None:
    page = page_of(client, f"/{name}")
    links = [unquote_plus(each.attributes["href"]) for each in page.all("a")]

    assert HOSTILE not in client.get(f"/{name}").text
    assert SHOWN_HOSTILE in page.one(id=name).text
    assert any(HOSTILE.replace('"', '\\"') in each for each in links)


@pytest.mark.parametrize("name", ["queues", "workers", "services"])
def test_the_part_that_changes_is_read_again(client: TestClient, name: str) -> None:
    part = page_of(client, f"/{name}?since=24h").one(id=name)

    assert part.attributes["hx-get"] == "?since=24h"
    assert part.attributes["data-refresh"] == "5"


@pytest.mark.parametrize(
    ("module", "name"),
    [(queues, "queues"), (workers, "workers"), (services, "services")],
)
def test_a_long_table_is_cut_and_says_so(
    client: TestClient, monkeypatch: pytest.MonkeyPatch, module: object, name: str
) -> None:
    monkeypatch.setattr(module, "MAX_SHOWN", 1)
    page = page_of(client, f"/{name}")

    assert len(rows_of(page)) == 1
    assert "left out" in page.one(id=name).text


@pytest.mark.parametrize(
    ("url", "status"), [("/workers?since=xx", 400), ("/services?since=-1", 400)]
)
def test_a_malformed_window_is_refused(
    client: TestClient, url: str, status: int
) -> None:
    assert "is not a time" in page_of(client, url, status=status).text


def says(client: TestClient, url: str, text: str) -> bool:
    return text in client.get(url).text


def test_a_page_says_how_old_it_is_while_the_database_hangs(store: TaskStore) -> None:
    is_fast = Event()
    is_fast.set()

    @event.listens_for(store.engine, "before_cursor_execute")
    def wait(*_: object) -> None:
        is_fast.wait()

    app, urls = create_app(store), ("/", "/queues")
    refresher = Refresher(store, every_s=0.01, late_s=0.1)
    said = "the database has not answered since then"
    try:
        with TestClient(app) as client:
            usual = [said in client.get(url).text for url in urls]
            app.state.site = replace(app.state.site, refresher=refresher)
            for url in urls:
                client.get(url)
            is_fast.clear()
            late = [eventually(partial(says, client, url, said), True) for url in urls]
    finally:
        is_fast.set()
        refresher.stop()
        event.remove(store.engine, "before_cursor_execute", wait)

    assert usual == [False, False]
    assert late == [True, True]


def test_a_slow_window_does_not_delay_those_who_look_at_others(
    store: TaskStore,
) -> None:
    slow: list[Thread] = []
    is_fast = Event()
    is_fast.set()

    @event.listens_for(store.engine, "before_cursor_execute")
    def wait(*_: object) -> None:
        if not slow:
            slow.append(current_thread())
        if current_thread() is slow[0]:
            is_fast.wait()

    try:
        with open_app(store) as client, ThreadPoolExecutor(1) as pool:
            page_of(client, "/tasks")  # The schema is checked once.
            slow.clear()
            is_fast.clear()
            waiting = pool.submit(client.get, "/workers?since=all")
            assert eventually(lambda: len(slow), 1) == 1
            usual = client.get("/workers")
            is_fast.set()
            every = waiting.result()
    finally:
        is_fast.set()
        event.remove(store.engine, "before_cursor_execute", wait)

    assert usual.status_code == every.status_code == 200
    assert "old@host" not in usual.text
    assert "old@host" in every.text

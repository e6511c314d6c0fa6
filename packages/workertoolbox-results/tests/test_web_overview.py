"""The overview: what the store says, for any number of viewers."""

from __future__ import annotations

import shutil
import threading
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from html_pages import Element, parse
from polling import eventually
from sqlalchemy import event, insert, text
from starlette.testclient import TestClient
from stored_tasks import publish, store_state

from cadasta.workertoolbox.results import TaskStore
from cadasta.workertoolbox.results._database.tables import (
    monitor,
    quarantine,
    release,
)
from cadasta.workertoolbox.results._history.error_groups import (
    Occurrence,
    record_errors,
)
from cadasta.workertoolbox.results._history.rollup import add_contributions
from cadasta.workertoolbox.results._history.stored_error import StoredError
from cadasta.workertoolbox.results._history.tally import Contribution
from cadasta.workertoolbox.results.web import create_app
from cadasta.workertoolbox.results.web.answers.overview import MAX_STEPS, choose_step
from cadasta.workertoolbox.results.web.answers.refresher import Refresher
from cadasta.workertoolbox.results.web.drawing.charts import HEIGHT
from cadasta.workertoolbox.results.web.pages.overview import step_text
from cadasta.workertoolbox.results.web.wording.formats import duration

MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)

#: A name of others, and how a page shows it.
HOSTILE = "<script>alert(1)</script>\x1b[31m\u202eexe\"'"
SHOWN = HOSTILE.replace("\x1b", r"\x1b").replace("\u202e", r"\u202e")


def ended(
    name: str, count: int, at: datetime, *, failed: int = 0
) -> list[Contribution]:
    return [
        Contribution(
            name=name,
            queue="export",
            status="FAILURE" if number < failed else "SUCCESS",
            finished_at=at,
            waited_s=0.5,
            ran_s=20.0,
        )
        for number in range(count)
    ]


def fill(store: TaskStore, now: datetime) -> None:
    """Store ended, waiting and running tasks, errors and a monitor."""
    error = StoredError("ValueError", "maps.draw", f"ValueError: {HOSTILE}")
    with store.engine.begin() as connection:
        add_contributions(
            connection,
            [
                *ended("maps.export", 200, now - 10 * MINUTE, failed=50),
                *ended("maps.export", 200, now - 90 * MINUTE),
                *ended(HOSTILE, 3, now - 30 * MINUTE, failed=1),
                *ended("old", 1, now - 3 * DAY),
            ],
        )
        occurrence = Occurrence("1:a", "1", "maps.export", now - HOUR, error)
        record_errors(connection, [occurrence])
        report = {"read_until": now - 200 * MINUTE / 60, "reported_at": now}
        connection.execute(insert(monitor).values(id="m", **report))
        seen = {"version": HOSTILE, "first_at": now - 30 * MINUTE}
        connection.execute(insert(release).values(service="maps", **seen))
    publish(store, "export", "stuck", at=now - 2 * HOUR, task="maps.export")
    publish(store, HOSTILE, "waiting", at=now, task="maps.export")
    publish(store, "export", "running", at=now, task="maps.export")
    store_state(store, "running", "STARTED", at=now, name="maps.export", worker="w@h")


@pytest.fixture(scope="module")
def filled(
    template: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[TaskStore]:
    path = shutil.copy(template, tmp_path_factory.mktemp("overview"))
    with TaskStore(f"workertoolbox+sqlite:///{path}") as store:
        fill(store, datetime.now(UTC).replace(microsecond=0))
        yield store


@pytest.fixture(scope="module")
def client(filled: TaskStore) -> Iterator[TestClient]:
    with TestClient(create_app(filled)) as client:
        yield client


def page_of(client: TestClient, url: str = "/", *, status: int = 200) -> Element:
    response = client.get(url)
    assert response.status_code == status, response.text
    return parse(response.text)


def figures(page: Element) -> dict[str, str]:
    """Return the large numbers with their titles."""
    return {
        each.one("dt").text: each.one("dd").text for each in page.all(class_="figure")
    }


def rows(page: Element, caption: str) -> list[list[str]]:
    """Return the cells of a table."""
    for table in page.all("table"):
        if table.one("caption").text == caption:
            body = table.one("tbody")
            return [
                [each.text for each in row.children if isinstance(each, Element)]
                for row in body.all("tr")
            ]
    raise AssertionError(f"no table {caption!r}")


def test_the_numbers_are_those_of_the_store(
    client: TestClient, filled: TaskStore
) -> None:
    found = figures(page_of(client))
    p95_s = filled.stats(since=datetime.now(UTC) - HOUR).total.now.ran.p95_s

    assert found["Waiting"] == "2 oldest 2.0 h"
    assert found["Running"] == "1 0 to be retried"
    assert found["Stuck"].startswith("1 ")
    assert found["Errors"] == "1 new 0 back"
    assert found["Overdue"].startswith("0 ")
    assert found["Quarantined"].startswith("0 ")
    assert found["Monitor lag"].startswith("3.")
    assert found["Ended"] == "203 ▲ 1 %"
    assert found["Failed"] == "51 ▲ new"
    assert found["Share that failed"] == "25.1 % ▲ new"
    assert found["Run time, p95"] == duration(p95_s)


def test_tables_name_the_slowest_the_failing_and_the_changed(
    client: TestClient,
) -> None:
    page = page_of(client)
    failing = rows(page, "Names with most failures")
    changed = rows(page, "What has changed against the window before")

    assert failing[0] == ["maps.export", "50", "25.0 %", "0 %"]
    assert [row[0] for row in failing[1:]] == [SHOWN]
    assert changed == [["maps.export", "failed", "0 %", "25.0 %", "▲ new"]]
    stuck = rows(page, "Tasks that wait or run for unusually long")
    assert [row[0] for row in stuck] == ["maps.export"]
    errors = rows(page, "Groups of errors that are new or back")
    assert [row[1] for row in errors] == [f"ValueError: {SHOWN}"]
    queues = rows(page, "Backlog of each queue")
    assert [row[:2] + row[3:] for row in queues] == [
        [SHOWN, "1", "0", "0"],
        ["export", "1", "1", "1"],
    ]


def test_a_name_links_to_its_failures_in_the_window(client: TestClient) -> None:
    page = page_of(client, "/?since=24h")
    links = [each.attributes["href"] for each in page.all("a", class_="mono")]

    assert "/tasks?query=name%3Amaps.export+status%3Afailure%2Clost&since=24h" in links
    for link in {*links}:
        assert client.get(link).status_code == 200, link


def test_texts_of_others_stay_text(client: TestClient) -> None:
    page = page_of(client)

    assert all("src" in each.attributes for each in page.all("script"))
    for each in page.all():
        assert not any(name.startswith("on") for name in each.attributes)
        assert "style" not in each.attributes
    assert not page.all("style")
    assert "\x1b" not in page.raw_text
    assert "\u202e" not in page.raw_text


@pytest.mark.parametrize(
    ("url", "steps", "title"),
    [
        ("/", 60, "The last hour"),
        ("/?since=15m", 15, "The last 15 minutes"),
        ("/?since=24h", 25, "The last 24 hours"),
        ("/?since=7d", 57, "The last 7 days"),
        ("/?since=2h&until=", 61, "Since 2h"),
        ("/?since=1000d", 37, "Since 1000d"),
    ],
)
def test_each_chart_and_the_table_have_the_steps_of_the_window(
    client: TestClient, url: str, steps: int, title: str
) -> None:
    page = page_of(client, url)
    charts = page.all("svg", class_="plot")

    assert page.all("h2")[1].text.startswith(title)
    assert len(charts) == 4
    assert all(steps - 1 <= len(each.all(class_="slot")) <= steps for each in charts)
    table = rows(page, "Figures of each step of the window")
    assert len(table) == len(charts[0].all(class_="slot"))
    total = sum(int(row[1].replace(",", "")) for row in table)
    assert total >= int(figures(page)["Ended"].split()[0])


def test_a_release_is_marked_in_each_chart_and_named_in_the_table(
    client: TestClient,
) -> None:
    page = page_of(client)
    earlier = page_of(client, "/?since=15m")
    table = rows(page, "Figures of each step of the window")
    [named] = [row for row in table if row[-1]]

    for chart in page.all("svg", class_="plot"):
        assert [each.attributes["y2"] for each in chart.all(class_="release")] == [
            *(str(HEIGHT), "-3")
        ]
        mark = chart.one("text", class_="release-name")
        assert mark.text.startswith(SHOWN[:11])
        assert f"maps {SHOWN} first seen" in mark.one("title").text
    assert named[-1].startswith(f"maps {SHOWN}, ")
    assert named[1] == "3"  # The tasks that ended in the same minute.
    assert not earlier.all(class_="release")
    assert len(rows(earlier, "Figures of each step of the window")[0]) == 9


def test_the_window_before_is_not_compared_if_nothing_was_stored(
    client: TestClient,
) -> None:
    page = page_of(client, "/?since=7d")

    assert "nothing before to compare with" in page.text
    assert "There is no window before to compare with." in page.text


def test_a_window_that_ended_is_shown(client: TestClient) -> None:
    until = (datetime.now(UTC) - HOUR).strftime("%Y-%m-%dT%H:%M")
    page = page_of(client, f"/?since=2h&until={until}")

    assert figures(page)["Ended"].startswith("200")
    assert page.one("input", id="until").attributes["value"] == until
    assert "open" in page.one("details", class_="own-window").attributes
    # The part refreshes itself with the same window.
    part = page.one(id="overview")
    assert part.attributes["hx-get"] == f"/?since=2h&until={until}"


@pytest.mark.parametrize(
    "url",
    ["/?since=soon", "/?until=2001-01-01", "/?since=1h&until=2h", "/?since=all"],
)
def test_an_invalid_window_is_a_page_that_says_so(client: TestClient, url: str) -> None:
    page = page_of(client, url, status=400)

    assert page.one("p", class_="problem").text


def test_figures_without_the_latest_tasks_say_so(store: TaskStore) -> None:
    store_state(store, "1", "FAILURE", at=datetime.now(UTC) - 90 * MINUTE)
    with TestClient(create_app(store)) as client:
        page = page_of(client)
        earlier = page_of(client, "/?since=5h&until=2h")

    [notice] = [each.text for each in page.all("p", class_="notice")]
    assert notice.startswith("These figures contain only tasks that ended before ")
    assert "celery -A proj tasks monitor" in notice
    assert not earlier.all("p", class_="notice")


def test_an_empty_database_shows_the_next_command(store: TaskStore) -> None:
    with TestClient(create_app(store)) as client:
        page = page_of(client)

    assert "celery -A proj tasks monitor" in page.text
    assert all(
        each.attributes["aria-label"].endswith(": nothing")
        for each in page.all("svg", class_="plot")
    )


def test_messages_in_quarantine_are_counted(store: TaskStore) -> None:
    with store.engine.begin() as connection:
        row = {"digest": "1", "reason": "malformed", "body": b"", "headers": {}}
        seen = {"seen_at": datetime.now(UTC)}
        connection.execute(insert(quarantine).values(**row, **seen))
    with TestClient(create_app(store)) as client:
        assert figures(page_of(client))["Quarantined"].startswith("1 ")


def test_ten_viewers_cost_the_database_what_one_does(store: TaskStore) -> None:
    fill(store, datetime.now(UTC))
    statements: list[str] = []

    def record(*_: object) -> None:
        statements.append(threading.current_thread().name)

    app = create_app(store)
    TestClient(app).get("/health")  # Checks the schema.
    app.state.site.refresher.stop()

    def look(viewers: int) -> Counter[str]:
        """Let viewers look at the page three times; return the statements by thread."""
        refresher = Refresher(store, every_s=3600, forget_s=3600, keep_s=0)
        app.state.site = replace(app.state.site, refresher=refresher)
        statements.clear()

        def look_often() -> None:
            client = TestClient(app)
            for _ in range(3):
                page_of(client)

        threads = [threading.Thread(target=look_often) for _ in range(viewers)]
        for each in threads:
            each.start()
        for each in threads:
            each.join()
        refresher.stop()
        return Counter(statements)

    event.listen(store.engine, "before_cursor_execute", record)
    one, ten = look(1), look(10)
    event.remove(store.engine, "before_cursor_execute", record)

    assert one["refresher"] > 10
    assert ten == one == {"refresher": one["refresher"]}


def test_a_failed_refresh_is_a_notice_above_the_last_figures(store: TaskStore) -> None:
    app = create_app(store)
    refresher = Refresher(store, every_s=0.01)
    app.state.site = replace(app.state.site, refresher=refresher)
    with TestClient(app) as client:
        assert not page_of(client).all(class_="notice")
        rename(store, "workertoolbox_quarantine", "elsewhere")

        def notices() -> int:
            return len(page_of(client).all(class_="notice"))

        assert eventually(notices, 1) == 1
        assert figures(page_of(client))["Quarantined"].startswith("0 ")
        rename(store, "elsewhere", "workertoolbox_quarantine")
        assert eventually(notices, 0) == 0
    refresher.stop()


def test_a_first_failure_is_a_page_until_the_database_answers(store: TaskStore) -> None:
    app = create_app(store)
    refresher = Refresher(store, every_s=0.01)
    app.state.site = replace(app.state.site, refresher=refresher)
    with TestClient(app) as client:
        rename(store, "workertoolbox_quarantine", "elsewhere")
        page = page_of(client, status=503)
        assert page.one("p", class_="problem").text
        rename(store, "elsewhere", "workertoolbox_quarantine")

        assert eventually(lambda: client.get("/").status_code, 200) == 200
    refresher.stop()


def rename(store: TaskStore, table: str, other: str) -> None:
    with store.engine.begin() as connection:
        connection.execute(text(f"ALTER TABLE {table} RENAME TO {other}"))


@pytest.mark.parametrize(
    ("minutes", "step"),
    [
        (1, "minute"),
        (60, "minute"),
        (90, "2 minutes"),
        (600, "10 minutes"),
        (24 * 60, "hour"),
        (7 * 24 * 60, "3 hours"),
        (60 * 24 * 60, "day"),
        (366 * 24 * 60, "7 days"),
        (100 * 366 * 24 * 60, "364 days"),
    ],
)
def test_a_window_has_a_step_that_is_easy_to_name(minutes: int, step: str) -> None:
    found = choose_step(minutes * MINUTE)

    assert step_text(found) == step
    assert minutes * MINUTE <= found * MAX_STEPS or step == "364 days"

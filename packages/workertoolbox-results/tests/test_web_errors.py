"""The pages of groups of errors."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from html_pages import Element
from sqlalchemy import insert
from starlette.testclient import TestClient
from stored_tasks import store_ended
from web_pages import filled_store, hrefs_of, open_app, page_of, rows_of

from cadasta.workertoolbox.results import TaskStore
from cadasta.workertoolbox.results._database.tables import error_group, release
from cadasta.workertoolbox.results._history.rollup import add_contributions
from cadasta.workertoolbox.results._history.tally import Contribution
from cadasta.workertoolbox.results.web import create_app
from cadasta.workertoolbox.results.web.pages.errors import MAX_GROUPS

NOW = datetime.now(UTC).replace(microsecond=0)
HOUR = timedelta(hours=1)

#: The start of an hour that has passed, so that all of its errors are in one hour.
LAST = NOW.replace(minute=0, second=0) - 2 * HOUR

HOSTILE = "<b>\x1b[31m\u202eexe</b>\"'"

KEY = "1:aaaaaaaaaaaaaaaa"


def add_group(store: TaskStore, id: str, first_at: datetime, **values: Any) -> None:
    row = {
        **{"id": id, "version": 1, "type": "KeyError", "place": "maps.tiles.read"},
        **{"name": "maps.tile", "sample": "KeyError: 'zoom'", "first_at": first_at},
        **{"last_at": first_at, "retries": 0, "count": 1, "state": "open", **values},
    }
    with store.engine.begin() as connection:
        connection.execute(insert(error_group).values(**row))


def fill(store: TaskStore) -> None:
    """Store a group with errors, one in each other state, and a hostile one."""
    values: dict[str, Any] = {"last_at": LAST, "count": 4, "retries": 1}
    values |= {"last_task_id": "t2", "sample": "KeyError: 'zoom'\n  in a second line"}
    add_group(store, KEY, LAST - 3 * HOUR, **values)
    failed = Contribution("maps.tile", "maps", "FAILURE", LAST, error_group=KEY)
    retry = Contribution("maps.tile", "maps", "RETRY", LAST, 1, error_group=KEY)
    older = LAST - timedelta(days=14)
    fourth = Contribution("maps.join", "maps", "FAILURE", older, error_group=KEY)
    good = Contribution("maps.tile", "maps", "SUCCESS", LAST)
    with store.engine.begin() as connection:
        contributions = [failed, failed, retry, fourth, *[good] * 5]
        add_contributions(connection, contributions)
        seen = {"version": "1.4", "first_at": LAST + HOUR / 2}
        connection.execute(insert(release).values(service="maps", **seen))
    ended: dict[str, Any] = {"status": "FAILURE", "error_group": KEY}
    ended |= {"name": "maps.tile", "started_at": LAST - timedelta(seconds=5)}
    store_ended(store, "t1", "t2", at=LAST, **ended)
    store_ended(store, "t0", at=older, **{**ended, "name": "maps.join"})
    month = timedelta(days=30)
    add_group(store, "1:quiet", NOW - month)
    add_group(store, "1:ongoing", NOW - month, last_at=NOW - 30 * HOUR)
    resolved: dict[str, Any] = {"state": "resolved", "resolved_at": NOW - 20 * HOUR}
    add_group(store, "1:resolved", NOW - month, **resolved)
    add_group(store, "1:back", NOW - month, last_at=NOW - HOUR, **resolved)
    add_group(store, "1:ignored", NOW - month, state="ignored")
    hostile = {"sample": HOSTILE, "name": HOSTILE, "place": HOSTILE}
    add_group(store, HOSTILE, NOW - HOUR / 2, **hostile)


@pytest.fixture(scope="module")
def client(
    template: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[TestClient]:
    with filled_store(template, tmp_path_factory.mktemp("errors")) as store:
        fill(store)
        with open_app(store) as client:
            yield client


def states(page: Element) -> list[str]:
    rows = page.one("tbody").all("tr")
    return [each.all("td")[0].one("span", class_="status").text for each in rows]


def fact(page: Element, title: str) -> str:
    """Return the text beside a title at the top of the page of a group."""
    card = page.one("dl", class_="card")
    titles = [each.text for each in card.all("dt")]
    return card.all("dd")[titles.index(title)].text


def row_of(table: Element, at: datetime) -> Element:
    """Return the row of an hour in the table of a chart."""
    return next(
        row
        for row in table.one("tbody").all("tr")
        if row.one("th").one("time").attributes["datetime"] == at.isoformat()
    )


def cells(row: Element) -> list[str]:
    return [each.text for each in row.children if isinstance(each, Element)]


def test_groups_are_listed_with_their_numbers(client: TestClient) -> None:
    page = page_of(client, "/errors")
    rows = page.one("tbody").all("tr")
    [row] = [each for each in rows if "4" in cells(each)]

    assert sorted(states(page)) == sorted(
        ["new", "new", "back", "ongoing", "quiet", "resolved", "ignored"]
    )
    error, state, _, errors, share, _, _ = cells(row)
    # On a phone, the first column has the state and the chart, too.
    chart = "errors in an hour: at most 3"
    assert error == f"KeyError: 'zoom'… new {chart} maps.tile in maps.tiles.read"
    assert (state, errors, share) == ("new", "4", "30.0 %")
    labels = [each.attributes["aria-label"] for each in row.all("svg")]
    assert labels == [chart] * 2


@pytest.mark.parametrize("state", ["new", "back", "ongoing", "quiet", "resolved"])
def test_a_state_is_a_link_with_the_number_of_its_groups(
    client: TestClient, state: str
) -> None:
    links = page_of(client, "/errors").one("nav", aria_label="States").all("a")
    [link] = [each for each in links if each.text.startswith(state)]
    page = page_of(client, link.attributes["href"])

    assert {*states(page)} == {state}
    assert link.text == f"{state} {len(states(page))}"
    chosen = page.one("nav", aria_label="States").one(aria_current="true")
    assert chosen.text == link.text


def test_groups_are_found_by_the_name_of_their_tasks(client: TestClient) -> None:
    page = page_of(client, "/errors?name=maps.join&state=new")

    assert len(states(page)) == 1
    assert page.one("input", id="name").attributes["value"] == "maps.join"
    other = page_of(client, "/errors?name=maps.join&state=quiet")
    assert "No group of errors in the state quiet" in other.one(class_="empty").text


def test_names_and_errors_full_of_markup_stay_text(client: TestClient) -> None:
    page = page_of(client, "/errors")
    links = [each for each in page.one("tbody").all("a") if "exe" in each.text]
    group = page_of(client, links[0].attributes["href"])

    assert not page.all("b") and not group.all("b")
    assert group.one("h1").text == "<b>\\x1b[31m\\u202eexe</b>\"'"
    assert f"errors resolve '{HOSTILE}" not in group.raw_text


def test_a_group_says_when_where_and_how_often_it_occurs(client: TestClient) -> None:
    page = page_of(client, f"/errors/{KEY}")

    assert page.one("h1").text == "KeyError: 'zoom'…"
    assert "in a second line" in page.one("pre", class_="sample").text
    assert fact(page, "Errors") == "4, 1 of them followed by a retry"
    assert fact(page, "Last 24 hours") == "3 errors, 30.0 % of 10 runs of these tasks"
    assert fact(page, "First seen").endswith("its task was erased")
    assert fact(page, "Last seen").endswith("task t2")
    assert fact(page, "Raised in") == "maps.tiles.read"


def test_the_errors_of_a_group_are_counted_by_the_hour_and_by_the_day(
    client: TestClient,
) -> None:
    page = page_of(client, f"/errors/{KEY}")
    hours, days = (
        [int(each.text) for each in table.all("td", class_="number")]
        for table in page.all("table")[:2]
    )
    labels = [each.attributes["aria-label"] for each in page.all("svg", class_="plot")]
    _, errors, _ = cells(row_of(page.all("table")[0], LAST))

    assert (len(hours), sum(hours), errors) == (24, 3, "3")
    assert (len(days), sum(days)) == (30, 4)
    assert labels[0] == ("Last 24 hours, errors per hour: at most 3; release mark: 1.4")


def test_a_release_is_named_beside_the_errors_of_its_hour(client: TestClient) -> None:
    page = page_of(client, f"/errors/{KEY}")
    hours, days = (table.one("tbody").all("tr") for table in page.all("table")[:2])

    _, errors, releases = cells(row_of(page.all("table")[0], LAST))

    assert errors == "3"
    assert releases.startswith("maps 1.4, ")
    assert sum(bool(cells(row)[2]) for row in [*hours, *days]) == 2


def test_a_group_lists_its_names_and_its_newest_tasks(client: TestClient) -> None:
    page = page_of(client, f"/errors/{KEY}")
    names, tasks = (each.one("tbody").all("tr") for each in page.all("table")[2:])

    assert [cells(row) for row in names] == [["maps.tile", "3"], ["maps.join", "1"]]
    assert {cells(row)[0] for row in tasks} == {"t0", "t1", "t2"}
    name, status, _, run_time, *_ = cells(tasks[0])[1:]
    assert (name, status, run_time) == ("maps.tile", "FAILURE", "5.0 s")


@pytest.mark.parametrize(
    ("link", "ids"),
    [("maps.join", {"t0"}), ("All tasks of this group", {"t0", "t1", "t2"})],
)
def test_the_links_of_a_group_lead_to_its_tasks_of_two_weeks_ago(
    client: TestClient, link: str, ids: set[str]
) -> None:
    page = page_of(client, f"/errors/{KEY}")
    tasks = page_of(client, hrefs_of(page)[link])

    assert {row[0] for row in rows_of(tasks)} == ids


@pytest.mark.parametrize(
    ("id", "commands"),
    [
        (KEY, ["resolve", "ignore"]),
        ("1:back", ["resolve", "ignore"]),
        ("1:resolved", ["reopen"]),
        ("1:ignored", ["reopen"]),
    ],
)
def test_a_group_has_the_commands_that_change_its_state(
    client: TestClient, id: str, commands: list[str]
) -> None:
    codes = [each.text for each in page_of(client, f"/errors/{id}").all("code")]
    found = [each for each in codes if each.startswith("celery")]

    assert found == [f"celery -A proj tasks errors {each} {id}" for each in commands]


@pytest.mark.parametrize(
    ("url", "status", "words"),
    [
        ("/errors?state=open", 400, "open"),
        ("/errors/1:gone", 404, "1:gone"),
        ("/errors/%00", 404, "\\x00"),
    ],
)
def test_bad_input_is_a_page_with_a_sentence(
    client: TestClient, url: str, status: int, words: str
) -> None:
    page = page_of(client, url, status=status)

    assert words in page.one(class_="problem").text


def test_of_many_groups_the_latest_are_shown_with_a_note(store: TaskStore) -> None:
    for number in range(MAX_GROUPS + 1):
        add_group(store, f"1:{number}", NOW - number * HOUR)
    with TestClient(create_app(store)) as client:
        page = page_of(client, "/errors")

    assert len(states(page)) == MAX_GROUPS
    assert f"the {MAX_GROUPS} groups with the latest errors" in page.text

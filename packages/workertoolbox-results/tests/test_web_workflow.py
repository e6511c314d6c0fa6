"""The page of a workflow: its tree, its bars, and what it says of the whole."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from pathlib import Path

import pytest
from html_pages import Element, parse
from sample_flows import (
    FAILED,
    FAILURES,
    GROUP,
    LARGE,
    OPEN,
    SINGLE,
    SIZE,
    at,
    fill_with_flows,
)
from starlette.testclient import TestClient
from web_pages import filled_store, open_app

from cadasta.workertoolbox.results._task import Task
from cadasta.workertoolbox.results.web.drawing.workflow_rows import MAX_ROWS


@pytest.fixture(scope="module")
def client(
    template: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[TestClient]:
    with filled_store(template, tmp_path_factory.mktemp("flows")) as store:
        fill_with_flows(store)
        with open_app(store) as client:
            yield client


def page_of(client: TestClient, url: str, *, status: int = 200) -> Element:
    response = client.get(url)
    assert response.status_code == status, response.text
    assert len(response.content) < 1_500_000
    return parse(response.text)


def rows_of(page: Element) -> dict[str, Element]:
    """Return the rows of the tree by the ids of their tasks."""
    links = [(row.all("a")[0], row) for row in page.one("tbody").all("tr")]
    return {
        link.attributes["title"]: row
        for link, row in links
        if "title" in link.attributes
    }


def tree(page: Element) -> list[str]:
    """Return the ids in the tree, each with a hyphen per level before it."""
    found = []
    for id, row in rows_of(page).items():
        classes = row.one("th").attributes["class"].split()
        level = next(each for each in classes if each.startswith("level-"))
        found.append("-" * int(level.removeprefix("level-")) + id)
    return found


def bars(row: Element) -> list[tuple[str, float, float]]:
    """Return the kinds of the bars of a row, with their places and widths."""
    kinds = {"wait", "delay", "run", "running", "failed", "retried", "planned"}
    return [
        (
            each.attributes["class"],
            float(each.attributes["x"].rstrip("%")),
            float(each.attributes["width"].rstrip("%")),
        )
        for each in row.all("rect")
        if each.attributes["class"] in kinds
    ]


def fact(page: Element, title: str) -> str:
    """Return the text beside a title at the top of the page."""
    card = page.one("dl", class_="card")
    titles = [each.text for each in card.all("dt")]
    return card.all("dd")[titles.index(title)].text


def test_the_tree_has_each_task_beneath_its_parent(client: TestClient) -> None:
    page = page_of(client, f"/workflows/{FAILED}")

    assert tree(page) == [
        *("chain", "-retried", "--failed", "---skipped", "-beside"),
    ]
    assert fact(page, "Status") == "partly failed after 40.0 s"
    assert fact(page, "Tasks") == "5: 3 SUCCESS, 2 FAILURE"


def test_bars_are_on_one_axis_of_time(client: TestClient) -> None:
    page = page_of(client, f"/workflows/{FAILED}")
    rows = rows_of(page)

    assert bars(rows["chain"]) == [("wait", 0.0, 5.0), ("run", 5.0, 15.0)]
    assert bars(rows["failed"]) == [("wait", 50.0, 2.5), ("failed", 52.5, 10.0)]
    assert bars(rows["skipped"]) == []
    ticks = page.one("svg", class_="axis").all("text")
    assert [(each.text, each.attributes["x"]) for each in ticks] == [
        *(("0", "0.0%"), ("10 s", "25.0%"), ("20 s", "50.0%")),
        *(("30 s", "75.0%"), ("40 s", "100.0%")),
    ]


def test_each_attempt_of_a_retried_task_has_a_bar(client: TestClient) -> None:
    row = rows_of(page_of(client, f"/workflows/{FAILED}"))["retried"]

    kinds = [kind for kind, _, _ in bars(row)]
    assert kinds == [*["wait", "retried"] * 2, "wait", "run"]
    assert "3 attempts" in row.text
    # The ends of failed runs have a shape, and exact values are shown on hover.
    assert [each.attributes["href"] for each in row.all("use")].count("#notch") == 2
    title = row.one("title").raw_text.splitlines()
    assert title[0] == "maps.retried SUCCESS"
    since = f"{at(11):%Y-%m-%d %H:%M:%S}.000"
    assert title[2] == f"failed and was retried 1.0 s from {since}"


def test_the_first_failed_step_is_above_the_tree_with_a_link_to_its_row(
    client: TestClient,
) -> None:
    page = page_of(client, f"/workflows/{FAILED}")
    failure = page.one(class_="failure")

    assert "First failed step: maps.failed FAILURE" in failure.text
    assert "KeyError: <zoom>" in failure.text
    assert failure.all("a")[1].attributes["href"] == "#failed"
    assert page.one("tr", id="failed") is rows_of(page)["failed"]


def test_the_critical_path_is_marked_with_a_sign_and_in_words(
    client: TestClient,
) -> None:
    page = page_of(client, f"/workflows/{FAILED}")
    marked = [id for id, row in rows_of(page).items() if row.all(class_="path")]

    assert marked == ["chain", "beside"]
    assert "◆ on the critical path: maps.beside" in rows_of(page)["beside"].text
    assert "◆" not in rows_of(page)["failed"].text
    wait, run = "longest wait 23.0 s of maps.beside", "longest run 9.0 s of maps.beside"
    assert fact(page, "Critical path") == f"◆ 2 tasks, {wait}, {run}"


def test_planned_steps_are_dashed_beyond_the_present_in_their_order(
    client: TestClient,
) -> None:
    page = page_of(client, f"/workflows/{OPEN}")
    rows = rows_of(page)
    places = {id: bars(rows[id]) for id in "bcdef"}

    assert tree(page) == ["a", "-b", "-c", "--d", "-e", "--f"]
    assert {kind for row in places.values() for kind, _, _ in row} == {"planned"}
    starts = {id: row[0][1] for id, row in places.items()}
    assert starts["b"] == starts["c"] == 88
    assert starts["c"] < starts["d"] < starts["e"] < starts["f"] < 100
    assert "chord body" in rows["e"].text


def test_an_open_workflow_says_what_it_waits_for_and_refreshes(
    client: TestClient,
) -> None:
    page = page_of(client, f"/workflows/{OPEN}")
    section = page.one(id="workflow")

    assert fact(page, "Status").startswith("running for ")
    assert fact(page, "Waits for").startswith("a running on w@host for ")
    assert section.attributes["data-refresh"] == "5"
    assert section.attributes["hx-get"] == f"/workflows/{OPEN}"
    assert bars(rows_of(page)["a"])[-1][0] == "running"
    ended = page_of(client, f"/workflows/{FAILED}").one(id="workflow")
    assert "data-refresh" not in ended.attributes


def test_a_task_within_a_workflow_shows_the_whole_and_its_row(
    client: TestClient,
) -> None:
    page = page_of(client, "/workflows/beside")

    assert [*rows_of(page)][0] == FAILED
    assert page.one("tr", id="requested") is rows_of(page)["beside"]
    assert "▶ asked for: maps.beside" in rows_of(page)["beside"].text


def test_a_group_without_a_root_shows_its_tasks(client: TestClient) -> None:
    page = page_of(client, f"/workflows/{GROUP}")

    assert tree(page) == ["one", "two"]
    [link] = page.one("dl", class_="card").all("a")[:1]
    assert link.attributes["href"] == "/tasks?query=group%3Agroup+status%3Asuccess"


def test_names_full_of_markup_stay_text(client: TestClient) -> None:
    page = page_of(client, f"/workflows/{SINGLE}")

    assert page.one("h1").text == "Workflow of <b>\\x1b[31m\\u202eexe</b>\"'"
    assert not page.all("b")


def test_the_most_important_of_5000_tasks_are_shown(client: TestClient) -> None:
    page = page_of(client, f"/workflows/{LARGE}")
    rows = rows_of(page)

    assert len(rows) == MAX_ROWS
    assert {*FAILURES} < {*rows}
    assert page.one("tr", id="failed") is rows["part 4951 tile 25"]
    gaps = [row.all("a")[0] for row in page.one("tbody").all("tr", class_="gap")]
    numbers = [int(link.text.split()[0].replace(",", "")) for link in gaps]
    assert sum(numbers) == SIZE - MAX_ROWS
    branch = page_of(client, gaps[0].attributes["href"])
    assert len(rows_of(branch)) == 50


def test_all_of_5000_tasks_are_on_pages(client: TestClient) -> None:
    first = page_of(client, f"/workflows/{LARGE}?rows=all")
    [link] = first.all("a", class_="button")
    second = page_of(client, link.attributes["href"])
    last = page_of(client, f"/workflows/{LARGE}?rows=all&from=4920")

    assert link.text == "Next rows"
    assert tree(first)[:3] == ["large", "-part 1", "--part 1 tile 0"]
    assert {*rows_of(first)}.isdisjoint(rows_of(second))
    sizes = [len(rows_of(each)) for each in (first, second, last)]
    assert sizes == [MAX_ROWS, MAX_ROWS, 80]
    assert [each.text for each in last.all("a", class_="button")] == ["Previous rows"]
    assert "rows 4,921 to 5,000 of 5,000" in last.text


@pytest.mark.parametrize(
    ("url", "status", "words"),
    [
        ("/workflows/gone", 404, "gone"),
        (f"/workflows/{FAILED}?branch=gone", 404, "gone"),
        (f"/workflows/{FAILED}?rows=all&from=-1", 400, "from must be the number"),
        (f"/workflows/{FAILED}?rows=all&from=٣", 400, "from must be the number"),
        (f"/workflows/{FAILED}?rows=all&from=9{'9' * 30}", 400, "from must be"),
    ],
)
def test_bad_input_is_a_page_with_a_sentence(
    client: TestClient, url: str, status: int, words: str
) -> None:
    page = page_of(client, url, status=status)

    assert words in page.one(class_="problem").text


def test_a_page_beyond_the_last_row_is_empty(client: TestClient) -> None:
    page = page_of(client, f"/workflows/{FAILED}?rows=all&from=99")

    assert rows_of(page) == {}
    assert "Previous rows" in page.text


def test_the_tasks_of_a_page_are_let_go_with_the_page(client: TestClient) -> None:
    page_of(client, f"/workflows/{LARGE}")
    gc.collect()
    before = number_of_tasks()
    gc.disable()
    try:
        page_of(client, f"/workflows/{LARGE}")
        after = number_of_tasks()
    finally:
        gc.enable()

    assert after == before


def number_of_tasks() -> int:
    """Return how many tasks are in memory."""
    return sum(type(each) is Task for each in gc.get_objects())

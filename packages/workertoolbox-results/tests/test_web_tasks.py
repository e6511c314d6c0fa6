"""The page `/tasks`, its CSV and the completion of its query."""

from __future__ import annotations

import csv
import io
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from html_pages import Element, parse
from sample_states import STATUSES, WORKER, fill
from starlette.testclient import TestClient
from stored_tasks import store_ended
from web_pages import filled_store, open_app, page_of

from cadasta.workertoolbox.results import TaskStore
from cadasta.workertoolbox.results._query.fields import FIELDS
from cadasta.workertoolbox.results.web import create_app
from cadasta.workertoolbox.results.web.searching import task_csv
from cadasta.workertoolbox.results.web.searching.completions import HINTS, complete

OLD = "0b0c9a52-6a39-4d3b-8f0e-0d1d5f2f7a11"
HOSTILE = "<b>\x1b[31m\u202eexe</b>\"'"


@pytest.fixture(scope="module")
def client(
    template: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[TestClient]:
    with filled_store(template, tmp_path_factory.mktemp("tasks")) as store:
        fill(store)
        now = datetime.now(UTC)
        then = now - timedelta(days=3)
        store_ended(store, OLD, at=then, name="maps.old", scheduled_at=then)
        at = now - timedelta(minutes=30)
        names = {"name": HOSTILE, "queue": HOSTILE, "worker": HOSTILE}
        store_ended(store, HOSTILE, at=at, scheduled_at=at, **names)
        store_ended(store, "sum", at=at, scheduled_at=at, name="=1+1", worker="@x")
        with open_app(store) as client:
            yield client


def ids_of(page: Element) -> list[str]:
    return [
        each.attributes["id"].removeprefix("task-")
        for each in page.one(id="results").all("tr")
        if "id" in each.attributes
    ]


def href(part: Element, text: str) -> str:
    """Return the target of the first link with a text in a part of a page."""
    return next(each.attributes["href"] for each in part.all("a") if each.text == text)


def test_the_page_shows_the_tasks_of_the_last_day(client: TestClient) -> None:
    page = page_of(client, "/tasks")

    assert {*ids_of(page)} == {*map(str.lower, STATUSES), HOSTILE_ID, "sum"}
    assert "Searched: the last 24 hours" in page.one(id="results").text


#: The id as a page shows it.
HOSTILE_ID = "<b>\\x1b[31m\\u202eexe</b>\"'"


@pytest.mark.parametrize("status", ["queued", "planned", "started", "failure", "lost"])
def test_a_status_is_a_link(client: TestClient, status: str) -> None:
    before = page_of(client, "/tasks?query=name:maps.*")
    statuses = before.one("nav", aria_label="Statuses")
    page = page_of(client, href(statuses, status))
    chip = page.one("nav", aria_label="Statuses").one(aria_current="true")

    assert ids_of(page) == [status]
    assert page.one(id="query").attributes["value"] == f"name:maps.* status:{status}"
    assert chip.text == status
    # Once more takes it away again.
    again = page_of(client, chip.attributes["href"])
    assert again.one(id="query").attributes["value"] == "name:maps.*"


def test_values_of_a_row_are_links_that_add_to_the_query(client: TestClient) -> None:
    page = page_of(client, "/tasks?query=status:failure")
    row = page.one("tr", id="task-failure")
    page = page_of(client, href(row, WORKER))

    assert page.one(id="query").attributes["value"] == (
        f"status:failure worker:{WORKER}"
    )
    # What the query demands already is a text.
    row = page.one("tr", id="task-failure")
    assert WORKER not in [each.text for each in row.all("a")]


def test_pages_follow_each_other_and_end(client: TestClient) -> None:
    first = page_of(client, "/tasks?limit=6&query=name:maps.*")
    second = page_of(client, href(first, "Next page"))

    assert len(ids_of(first)) == len(ids_of(second)) == 6
    assert {*ids_of(first)}.isdisjoint(ids_of(second))
    assert "as of the first page" in second.one(id="results").text
    assert not [each for each in second.all("a") if each.text == "Next page"]
    assert ids_of(page_of(client, href(second, "First page"))) == ids_of(first)


def test_only_the_first_page_is_refreshed(client: TestClient) -> None:
    first = page_of(client, "/tasks?limit=6&query=name:maps.*")
    second = page_of(client, href(first, "Next page"))
    past = page_of(client, "/tasks?until=1m")

    attributes = first.one(id="results").attributes
    assert attributes["data-refresh"] == "5"
    assert parse(client.get(attributes["hx-get"]).text).one(id="results")
    assert "data-refresh" not in second.one(id="results").attributes
    assert "data-refresh" not in past.one(id="results").attributes


def test_an_empty_page_offers_longer_windows(client: TestClient) -> None:
    page = page_of(client, "/tasks?query=name:maps.old")
    results = page.one(id="results")

    assert "No task of the last 24 hours matches this query." in results.text
    wider = page_of(client, href(results, "7 days"))
    assert ids_of(wider) == [OLD]


def test_an_empty_database_says_the_next_command(store: TaskStore) -> None:
    with TestClient(create_app(store)) as client:
        page = page_of(client, "/tasks?since=all")

    assert "tasks monitor" in page.one("pre").text


@pytest.mark.parametrize("query", [OLD, f"id:{OLD}", f"{OLD} name:maps.*"])
@pytest.mark.parametrize("since", ["", "&since=24h"])
def test_an_id_is_found_at_any_age(client: TestClient, query: str, since: str) -> None:
    page = page_of(client, f"/tasks?query={query}{since}")

    assert ids_of(page) == [OLD]
    assert "all time" in page.one(id="results").text


@pytest.mark.parametrize(
    ("url", "sentence"),
    [
        ("query=queue:a+stauts:failure", "did you mean status:?"),
        ("query=status:failed", "did you mean failure?"),
        ("query=(((((", "ends too early"),
        ("query=" + "(" * 500, "nested deeper"),
        ("query=" + "a" * 20_000, "longer than"),
        ("query=a&page=xyz", "is not a page token"),
        ("query=a&page=%00%ff", "is not a page token"),
        ("query=a&since=soon", "is not a time"),
        ("query=a&since=1h&until=2h", "before"),
        ("query=a&limit=0", "limit must be a number from 1 to 500, got "),
        ("query=a&limit=501", "limit must be a number from 1 to 500, got '501'"),
        ("query=a&limit=99999999999999", "limit must be a number from 1 to 500, got "),
        ("query=a&limit=0000000019999", "limit must be a number from 1 to 500, got "),
        ("query=a&limit=²", "limit must be a number from 1 to 500, got "),
    ],
)
def test_an_error_keeps_the_box(client: TestClient, url: str, sentence: str) -> None:
    query = url.removeprefix("query=").partition("&")[0].replace("+", " ")
    page = page_of(client, f"/tasks?{url}", status=400)

    assert sentence in page.one(id="problem").text
    box = page.one(id="query").attributes
    assert box["value"] == query
    assert box["aria-invalid"] == "true"
    assert not page.all(id="results")


def test_a_caret_is_below_the_column_of_an_error(client: TestClient) -> None:
    page = page_of(client, "/tasks?query=queue:a+stauts:failure", status=400)

    assert page.one("pre", class_="marked").raw_text == (
        "queue:a stauts:failure\n        ^"
    )


def test_a_token_of_another_query_is_refused(client: TestClient) -> None:
    first = page_of(client, "/tasks?limit=6&query=name:maps.*")
    url = href(first, "Next page").replace("maps.", "map.")
    page = page_of(client, url, status=400)

    assert "belongs to another query" in page.one(id="problem").text


def test_hostile_values_stay_text(client: TestClient) -> None:
    response = client.get("/tasks")
    row = parse(response.text).one("tr", id=f"task-{HOSTILE_ID}")

    assert not row.all("b")
    assert row.all("td")[1].text == HOSTILE_ID
    assert row.all("td")[3].text == HOSTILE_ID
    assert "\x1b" not in response.text
    assert "\u202e" not in response.text
    # Its links find the task.
    assert ids_of(page_of(client, href(row, HOSTILE_ID))) == [HOSTILE_ID]


def test_the_csv_has_the_tasks_of_the_query(client: TestClient) -> None:
    page = page_of(client, "/tasks?query=status:failure,lost")
    response = client.get(href(page, "CSV"))
    rows = [*csv.DictReader(io.StringIO(response.text))]

    assert response.headers["content-type"] == "text/csv; charset=utf-8"
    assert [each["id"] for each in rows] == ids_of(page) == ["failure", "lost"]
    assert rows[0]["status"] == "FAILURE"
    assert (rows[0]["wait_s"], rows[0]["run_s"]) == ("2.0", "10.0")


def test_the_csv_has_no_formulas(client: TestClient) -> None:
    response = client.get("/tasks.csv?query=id:sum")
    [row] = csv.DictReader(io.StringIO(response.text))

    assert row["name"] == "'=1+1"
    assert row["worker"] == "'@x"


def test_the_csv_continues_over_pages_up_to_a_limit(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(task_csv, "_PAGE_SIZE", 4)
    monkeypatch.setattr(task_csv, "MAX_ROWS", 10)
    rows = [*csv.DictReader(io.StringIO(client.get("/tasks.csv").text))]
    page = page_of(client, "/tasks?limit=10")

    assert [each["id"] for each in rows] == ids_of(page)


def test_the_csv_of_a_wrong_query_is_an_error(client: TestClient) -> None:
    response = client.get("/tasks.csv?query=stauts:a")

    assert response.status_code == 400
    assert "did you mean status:?" in response.text


def test_each_field_has_a_hint() -> None:
    assert {*HINTS} == {*FIELDS}


@pytest.mark.parametrize(
    ("text", "kept", "first"),
    [
        ("sta", "", "status:"),
        ("name:a (stam", "name:a (", "stamp."),
        ("-que", "-", "queue:"),
        ("status:fai", "status:", "failure"),
        ("status:failure,lo", "status:failure,", "lost"),
        ('name:"a b" sta', 'name:"a b" ', "status:"),
        ("tracked:", "tracked:", "yes"),
        ("queue:exp", "queue:", "export"),
        ("worker:host", "worker:", WORKER),
        ("rende", "", "name:maps.render"),
        ("name:1+", "name:", '"=1+1"'),
    ],
)
def test_the_word_before_the_cursor_is_completed(
    client: TestClient, text: str, kept: str, first: str
) -> None:
    answer = client.get("/completions", params={"text": text}).json()

    assert answer["kept"] == kept
    assert answer["options"][0]["text"] == first


@pytest.mark.parametrize("text", ["args.order_id:4", 'name:"maps', "x" * 20_000, "\0"])
def test_completion_knows_no_answer(client: TestClient, text: str) -> None:
    response = client.get("/completions", params={"text": text})

    assert response.status_code == 200


def test_the_end_of_a_long_text_is_found_at_once() -> None:
    began = time.process_time()
    found = complete("a" * 16_000 + " ", {})

    assert time.process_time() - began < 1
    assert found.kept == "a" * 16_000 + " "

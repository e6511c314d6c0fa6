"""The page of a task."""

from __future__ import annotations

import ast
import json
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from html_pages import Element, parse
from sample_states import ENDED, STATUSES, WORKER, fill
from sqlalchemy import insert
from starlette.testclient import TestClient
from stored_tasks import publish, store_ended, store_state

from cadasta.workertoolbox.results import TaskStore
from cadasta.workertoolbox.results._database.tables import operation, operation_task
from cadasta.workertoolbox.results.web import create_app

#: HTML, an escape sequence, and a character that reverses the text after it; and the
#: same as pages show it.
HOSTILE = "<b>\x1b[31m\u202eexe</b>\"'&"
SHOWN = "<b>\\x1b[31m\\u202eexe</b>\"'&"

NOW = datetime.now(UTC).replace(microsecond=0)

TRACEBACK = f"""Traceback (most recent call last):
  File "/usr/lib/python3.12/site-packages/celery/app/trace.py", line 453, in trace_task
    R = retval = fun(*args, **kwargs)
                 ^^^^^^^^^^^^^^^^^^^^
  File "/srv/maps/tasks.py", line 12, in export
    draw({HOSTILE})
  File "/usr/lib/python3.12/json/decoder.py", line 355, in raw_decode
    raise JSONDecodeError("Expecting value", s, err.value) from None
ValueError: {HOSTILE}
"""


@pytest.fixture(scope="module")
def store(
    template: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[TaskStore]:
    path = shutil.copy(template, tmp_path_factory.mktemp("task"))
    with TaskStore(f"workertoolbox+sqlite:///{path}") as store:
        fill(store)
        fill_workflow(store)
        fill_large(store)
        fill_hostile(store)
        yield store


@pytest.fixture(scope="module")
def client(store: TaskStore) -> Iterator[TestClient]:
    with TestClient(create_app(store)) as client:
        yield client


def fill_workflow(store: TaskStore) -> None:
    """Store a root, thirty children of a group, a grandchild, and a rerun of one."""
    at = NOW - timedelta(minutes=20)
    whole: dict[str, Any] = {
        **{"arguments": "whole", "args": [1, "a"], "kwargs": {"size": None}},
        **{"seen_at": at, "scheduled_at": at, "at": at, "root_id": "root"},
    }
    store_ended(store, "root", name="maps.all", **whole)
    inside: dict[str, Any] = {**whole, "parent_id": "root", "group_id": "tiles"}
    ids = [f"tile-{number:02}" for number in range(30)]
    headers = {"tenant": "acme", "color": "red"}
    options = {
        **{"priority": 3, "time_limits": [60.0, 50.0], "shadow": "tile"},
        **{"stamps": ["color"], "follows": ["chord"]},
    }
    store_ended(
        store,
        *ids,
        name="maps.tile",
        headers=headers,
        options=options,
        expires=NOW + timedelta(days=1),
        ignore_result=True,
        origin="gen1@host",
        service="shop",
        schedule="nightly",
        **inside,
    )
    below: dict[str, Any] = {**whole, "parent_id": ids[0]}
    store_ended(store, "leaf", name="maps.leaf", **below)
    again: dict[str, Any] = {**whole, "root_id": "again", "rerun_of": ids[1]}
    store_ended(store, "again", name="maps.tile", **again)
    with store.engine.begin() as connection:
        row: dict[str, Any] = {
            **{"id": "op", "kind": "rerun", "made_by": "ann@host", "selection": "x"},
            **{"tasks": 1, "started_at": NOW},
        }
        connection.execute(insert(operation).values(**row))
        row = {
            **{"operation_id": "op", "task_id": ids[1], "new_id": "again"},
            **{"position": 0, "state": "published", "changed_at": NOW},
        }
        connection.execute(insert(operation_task).values(**row))


def fill_large(store: TaskStore) -> None:
    """Store a task whose arguments and result are long, live and in the history."""
    long = ["0123456789"] * 10_000
    publish(store, "export", "live-long", task="maps.long", root_id="live-long")
    encoded = json.dumps(long).encode()
    store_state(store, "live-long", "SUCCESS", result=encoded, worker=WORKER)
    store_ended(
        store,
        "long",
        args=[long[:500]],
        arguments="whole",
        result=encoded[:65_536],
        result_bytes=len(encoded),
        seen_at=NOW,
        scheduled_at=NOW,
    )


def fill_hostile(store: TaskStore) -> None:
    """Store tasks with hostile texts in every place."""
    texts = dict.fromkeys(
        ("name", "queue", "worker", "origin", "service", "schedule", "group_id"),
        HOSTILE,
    )
    at = NOW - timedelta(minutes=5)
    run = {
        **{"retries": 0, "queue": HOSTILE, "worker": HOSTILE, "outcome": "RETRY"},
        **{"error": json.dumps(error()), "traceback": TRACEBACK},
        **{"published_at": at.isoformat(), "started_at": at.isoformat()},
        "finished_at": NOW.isoformat(),
    }
    values: dict[str, Any] = {
        **texts,
        **{"args": [HOSTILE], "kwargs": {HOSTILE: HOSTILE}, "arguments": "whole"},
        **{"headers": {HOSTILE: HOSTILE, "x": 1}, "options": {"shadow": HOSTILE}},
        **{"root_id": HOSTILE, "parent_id": f"{HOSTILE}/parent", "attempts": [run]},
        **{"scheduled_at": at, "started_at": at, "seen_at": at, "retries": 1},
        "rerun_of": f"{HOSTILE}/before",
    }
    values["options"]["stamps"] = ["x"]
    failed = {"status": "FAILURE", "result": json.dumps(error()).encode()}
    store_ended(store, HOSTILE, traceback=TRACEBACK, **{**values, **failed})
    result = json.dumps({HOSTILE: HOSTILE}).encode()
    values["parent_id"] = HOSTILE
    store_ended(store, "hostile-result", result=result, **values)


def error() -> dict[str, Any]:
    return {"exc_type": HOSTILE, "exc_message": [HOSTILE]}


def page_of(client: TestClient, id: str) -> Element:
    response = client.get(f"/tasks/{id}")
    assert response.status_code == 200, response.text
    return parse(response.text)


def fact(page: Element, title: str) -> Element:
    """Return the value of an entry of the lists of facts."""
    [found] = [
        entry.one("dd")
        for entry in page.all("div")
        if [each.text for each in entry.children if isinstance(each, Element)][:1]
        == [title]
        and entry.all("dd")
    ]
    return found


def links(part: Element) -> list[str]:
    return [each.attributes["href"] for each in part.all("a")]


@pytest.mark.parametrize("status", STATUSES)
def test_a_task_in_each_state_has_a_page(client: TestClient, status: str) -> None:
    page = page_of(client, status.lower())

    assert page.one("h1").text.startswith("maps.")
    assert page.all("span", class_="status")[0].text == status
    assert f"[{status.lower()}]" in page.one("p", class_="sentence").text


@pytest.mark.parametrize("status", STATUSES)
def test_the_page_of_an_open_task_is_refreshed(client: TestClient, status: str) -> None:
    page = page_of(client, status.lower())

    assert bool(page.all("section", data_refresh="5")) == (status not in ENDED)


def test_the_sentence_has_its_evidence(client: TestClient, store: TaskStore) -> None:
    page = page_of(client, "failure")

    assert page.one("p", class_="sentence").text == store.why("failure").sentence
    assert fact(page, "Ran").text == "10.0 s"
    assert fact(page, "Waited").text == "2.0 s"
    assert links(fact(page, "Worker")) == ["/tasks?query=worker%3Acelery%40host-1"]


def test_the_reasons_behind_a_reason_are_links(client: TestClient) -> None:
    page = page_of(client, "planned")

    assert "/tasks/queued" in links(page.one("section", class_="why"))


def test_what_the_message_says_is_shown(client: TestClient) -> None:
    page = page_of(client, "tile-00")
    texts = [each.text for each in page.all("pre")]

    assert '[1, "a"]' in texts
    assert '{"size": null}' in texts
    assert '{"tenant": "acme"}' in texts
    assert '{"color": "red"}' in texts
    assert fact(page, "Priority").text == "3"
    assert fact(page, "Time limit").text == "60 s"
    assert fact(page, "Soft time limit").text == "50 s"
    assert fact(page, "Shown as").text == "tile"
    assert fact(page, "Ignores result").text == "yes"
    assert fact(page, "Followed by").text == "chord"
    assert fact(page, "Expires").one("time")
    assert fact(page, "Origin").text == "gen1@host"
    assert fact(page, "Service").text == "shop"
    assert fact(page, "Schedule").text == "nightly"


def test_relatives_are_links_and_many_are_counted(client: TestClient) -> None:
    page = page_of(client, "tile-00")
    family = page.one("section", aria_labelledby="family")

    assert links(fact(page, "Parent")) == ["/tasks/root"]
    assert fact(page, "Parent").text == "maps.all SUCCESS"
    assert "/tasks/leaf" in links(family)
    assert "/workflows/root" in links(family)
    siblings = family.all("table")[-1]
    assert len(siblings.one("tbody").all("tr")) == 20
    assert "/tasks/tile-00" not in links(siblings)
    [more] = [each for each in family.all("a") if each.text == "and 9 more"]
    assert "group%3Atiles" in more.attributes["href"]


def test_the_children_of_a_root_are_counted(client: TestClient) -> None:
    page = page_of(client, "root")
    [more] = [each for each in page.all("a") if each.text == "and 10 more"]
    found = client.get(more.attributes["href"])

    assert found.text.count('id="task-tile-') == 30


def test_reruns_and_what_they_repeat_are_linked(client: TestClient) -> None:
    repeated, rerun = page_of(client, "tile-01"), page_of(client, "again")

    assert links(fact(repeated, "Rerun")) == ["/tasks/again"]
    assert "published" in fact(repeated, "Rerun").text
    assert links(fact(rerun, "Repeats")) == ["/tasks/tile-01"]
    assert "celery -A proj tasks rerun tile-01 --again" in commands(repeated)


def commands(page: Element) -> list[str]:
    return [each.raw_text for each in page.all("code")]


def test_the_code_sends_the_same_task(client: TestClient) -> None:
    texts = commands(page_of(client, "tile-00"))
    [code] = [each for each in texts if "send_task" in each]
    [call] = [each for each in ast.walk(ast.parse(code)) if isinstance(each, ast.Call)]
    given = {str(each.arg): ast.literal_eval(each.value) for each in call.keywords}

    assert [ast.literal_eval(each) for each in call.args] == ["maps.tile"]
    assert given == {
        **{"args": [1, "a"], "kwargs": {"size": None}, "queue": "export"},
        **{"priority": 3, "time_limit": 60.0, "soft_time_limit": 50.0},
        **{"shadow": "tile", "ignore_result": True, "headers": {"tenant": "acme"}},
    }


@pytest.mark.parametrize(
    ("id", "reason"),
    [
        ("queued", "it has not ended: it is QUEUED"),
        ("planned", "it has not been published yet"),
        ("failure", "it is not known whether its stored arguments are whole"),
    ],
)
def test_a_task_that_cannot_be_run_again_says_why(
    client: TestClient, id: str, reason: str
) -> None:
    page = page_of(client, id)

    assert reason in page.one("section", aria_labelledby="again").text
    assert not [each for each in commands(page) if "rerun" in each]


@pytest.mark.parametrize("id", ["long", "live-long"])
def test_a_long_result_is_folded_and_cut(client: TestClient, id: str) -> None:
    response = client.get(f"/tasks/{id}")
    folded = parse(response.text).one("details", id="long-result")

    assert folded.one("summary").text == "result, 140.0 kB"
    assert "Cut off: the whole has 140.0 kB" in folded.text
    assert 50_000 < len(folded.raw_text) < 70_000


def test_a_long_argument_is_folded_but_whole(client: TestClient) -> None:
    folded = page_of(client, "long").one("details", id="long-args")

    assert folded.one("summary").text == "args, 7.0 kB"
    assert folded.text.count("0123456789") == 500


def test_own_frames_stand_out_and_others_are_folded(client: TestClient) -> None:
    page = page_of(client, HOSTILE_URL)
    section = page.one("section", aria_labelledby="error")

    [own] = section.all("pre", class_="own")
    assert own.raw_text.startswith('  File "/srv/maps/tasks.py", line 12, in export')
    assert [each.text for each in section.all("summary")] == [
        "1 frame of celery",
        "1 frame of Python",
    ]
    assert "Raised through /srv/maps/tasks.py:12 in export" in section.text


HOSTILE_URL = "%3Cb%3E%1B%5B31m%E2%80%AEexe%3C%2Fb%3E%22'%26"


@pytest.mark.parametrize("id", [HOSTILE_URL, "hostile-result"])
def test_hostile_texts_stay_text_in_every_place(client: TestClient, id: str) -> None:
    response = client.get(f"/tasks/{id}")
    page = parse(response.text)

    assert not page.all("b")
    assert not [char for char in response.text if char in "\x1b\u202e"]
    assert page.one("h1").text == SHOWN
    facts = ("Queue", "Worker", "Origin", "Service", "Schedule", "Shown as", "Group")
    for title in facts:
        assert fact(page, title).text == SHOWN
    arguments = page.one("section", aria_labelledby="arguments")
    assert [each.raw_text for each in arguments.all("pre")] == [
        as_json([HOSTILE]),
        as_json({HOSTILE: HOSTILE}),
        as_json({HOSTILE: HOSTILE}),
        as_json({"x": 1}),
    ]
    attempts = page.one("section", aria_labelledby="attempts").one("table")
    assert f"{SHOWN}: {SHOWN}" in attempts.text


def as_json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False).replace("\u202e", "\\u202e")


def test_copied_texts_have_no_control_characters(client: TestClient) -> None:
    buttons = page_of(client, HOSTILE_URL).all("button", class_="copy")

    assert [each.text for each in buttons] == [
        *("Copy id", "Copy traceback", "Copy command", "Copy code"),
    ]
    for each in buttons:
        assert "\x1b" not in each.attributes["data-copy"]
        assert "hidden" in each.attributes


def test_the_time_line_is_a_picture_with_words(client: TestClient) -> None:
    page = page_of(client, "failure")
    [row] = page.one("figure").all("svg", role="img")

    assert row.attributes["aria-label"] == (
        "Attempt 1: waited for 2.0 s, ran for 10.0 s"
    )
    assert [each.attributes["class"] for each in row.all("rect")] == ["waited", "bad"]


def test_an_unknown_id_is_not_found(client: TestClient) -> None:
    response = client.get("/tasks/unknown")

    assert response.status_code == 404
    assert "unknown" in response.text

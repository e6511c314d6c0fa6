"""The page `/quarantine`, and the messages that the store lists for it."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from messages import message
from starlette.testclient import TestClient
from web_pages import HOSTILE, SHOWN_HOSTILE, filled_store, open_app, page_of

from cadasta.workertoolbox.results import TaskStore
from cadasta.workertoolbox.results._monitor.quarantine_record import quarantine_record
from cadasta.workertoolbox.results._monitor.upserts import write_batch
from cadasta.workertoolbox.results.web.pages.quarantine import PER_PAGE, SHOWN

SECRET = "s3cr3t-value"

#: Number of messages.
COUNT = PER_PAGE + 3


@pytest.fixture(scope="module")
def store(
    template: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[TaskStore]:
    messages = [
        *(message(f"[{number}", id=f"id{number}") for number in range(COUNT - 3)),
        message("é" * SHOWN, id="long", task="export.long"),
        message([[], {"password": SECRET}], argsrepr=f"('{SECRET}',)", id="secret"),
        message(b"\xff\x00" + HOSTILE.encode(), task=HOSTILE, id=HOSTILE, other="x"),
    ]
    reasons = ["x"] * (COUNT - 1) + [f"cannot read {HOSTILE}"]
    now = datetime.now(UTC)
    with filled_store(template, tmp_path_factory.mktemp("quarantine")) as store:
        for each, reason in zip(messages, reasons, strict=True):
            record = quarantine_record(each, reason=reason, seen_at=now)
            with store.engine.begin() as connection:
                write_batch(connection, [record])
        yield store


@pytest.fixture(scope="module")
def client(store: TaskStore) -> Iterator[TestClient]:
    with open_app(store) as client:
        yield client


def test_the_store_lists_messages_in_pages(store: TaskStore) -> None:
    first = store.quarantined(limit=20)
    second = store.quarantined(limit=20, before=first[-1].id)

    assert [each.id for each in (*first, *second)] == [*range(COUNT, 0, -1)]
    assert {each.excerpt for each in first} == {None}
    assert "excerpt" not in first[0].as_json()


def test_an_excerpt_ends_with_a_whole_character(store: TaskStore) -> None:
    long = store.quarantined(limit=3, excerpt_size=7)[-1]

    assert long.bytes == 2 * SHOWN
    assert long.excerpt is not None
    assert long.excerpt.body == "ééé"
    assert long.excerpt.headers_length > len(long.excerpt.headers) == 7


def test_a_message_has_its_reason_its_text_and_commands(client: TestClient) -> None:
    page = page_of(client, "/quarantine")
    last, *_ = page.all("article")
    message, commands = last.all("details")
    headers, body = message.all("pre")

    assert last.one("h2").text == f"{COUNT}cannot read {SHOWN_HOSTILE}"
    assert f"Task {SHOWN_HOSTILE}" in " ".join(
        each.text.replace("Task", "Task ", 1) for each in last.all("dl")[0].all("div")
    )
    assert body.text == f"\\xff\\x00{SHOWN_HOSTILE}"
    assert '"other": "x"' in headers.text
    assert [each.text for each in commands.all("code")] == [
        f"celery -A proj tasks quarantine replay {COUNT}",
        f"celery -A proj tasks quarantine drop {COUNT}",
    ]
    assert HOSTILE not in client.get("/quarantine").text


def test_secrets_are_in_no_message(client: TestClient) -> None:
    assert SECRET not in client.get("/quarantine").text


def test_a_long_message_is_cut_with_its_size(client: TestClient) -> None:
    long = page_of(client, "/quarantine").one(id=f"message-{COUNT - 2}")

    assert long.all("pre")[1].text == "é" * (SHOWN // 2)
    assert "the first 4.0 kB of 8.0 kB" in long.text


def test_older_messages_are_on_the_next_page(client: TestClient) -> None:
    first = page_of(client, "/quarantine")
    older = first.one("a", rel="next").attributes["href"]
    second = page_of(client, older)
    beyond = page_of(client, "/quarantine?before=1")

    assert len(first.all("article")) == PER_PAGE
    assert [each.attributes["id"] for each in second.all("article")] == [
        "message-3",
        "message-2",
        "message-1",
    ]
    assert not second.all("a", rel="next")
    assert "No older message" in beyond.one(class_="empty").text


@pytest.mark.parametrize("before", ["x", "-1", "1e3", "9" * 30, "\u0663"])
def test_a_tampered_page_is_refused(client: TestClient, before: str) -> None:
    page = page_of(client, f"/quarantine?before={before}", status=400)

    assert "is not the number of a message" in page.text

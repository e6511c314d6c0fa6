"""`tasks quarantine`: listing, showing, replaying and dropping messages."""

from __future__ import annotations

import json
import zlib
from datetime import UTC, datetime
from typing import Any

import pytest
from celery import Celery
from messages import message
from sqlalchemy import Engine, event
from test_commands import objects, run

from cadasta.workertoolbox.results import TaskStore
from cadasta.workertoolbox.results._monitor.quarantine_record import quarantine_record
from cadasta.workertoolbox.results._monitor.upserts import write_batch
from cadasta.workertoolbox.results.backend import Backend


@pytest.fixture
def quarantined(backend: Backend) -> list[int]:
    """The numbers of two messages in quarantine; only the first can be read now."""
    messages = [message([["a"], {"token": "s3cret"}, {}]), message(b"\xff{")]
    now = datetime.now(UTC)
    for each in messages:
        with backend.database.engine.begin() as connection:
            record = quarantine_record(each, reason="an older release", seen_at=now)
            write_batch(connection, [record])
    return [1, 2]


def listed(app: Celery) -> list[Any]:
    return [each["id"] for each in objects(app, "quarantine", "list")]


def test_messages_are_listed_with_their_reasons(
    app: Celery, quarantined: list[int]
) -> None:
    table = run(app, "quarantine", "list").output

    assert listed(app) == [2, 1]
    assert table.count("an older release") == 2


def test_a_message_is_shown_unchanged(app: Celery, quarantined: list[int]) -> None:
    [shown] = objects(app, "quarantine", "show", "2")
    text = run(app, "quarantine", "show", "2").output

    assert shown["body"] == r"\xff{"
    assert shown["headers"]["task"] == "export.project"
    assert r"\xff{" in text


def test_replaying_a_readable_message_stores_its_task(
    app: Celery, quarantined: list[int], store: TaskStore
) -> None:
    result = run(app, "quarantine", "replay", "1")
    task = store.get("1")

    assert result.output == "1 stored as task 1\n"
    assert (task.args, task.kwargs) == (["a"], {"token": "********"})
    assert task.queue == "export"
    assert listed(app) == [2]


def test_a_compressed_message_can_be_replayed(app: Celery, backend: Backend) -> None:
    body = zlib.compress(b'[["a"], {}, {}]')
    odd = message(body, compression="application/x-gzip")
    record = quarantine_record(
        odd, reason="an older release", seen_at=datetime.now(UTC)
    )
    with backend.database.engine.begin() as connection:
        write_batch(connection, [record])

    assert run(app, "quarantine", "replay", "1").output == "1 stored as task 1\n"


def test_an_unreadable_message_stays_and_the_others_are_replayed(
    app: Celery, quarantined: list[int], store: TaskStore
) -> None:
    result = run(app, "quarantine", "replay", "2", "1")

    assert result.exit_code == 1
    assert result.output.splitlines()[0].startswith(
        "2 stays in quarantine: the body is not valid JSON"
    )
    assert listed(app) == [2]
    assert store.find("1") is not None


def test_a_dropped_message_is_no_longer_listed(
    app: Celery, quarantined: list[int]
) -> None:
    assert run(app, "quarantine", "drop", "1").output == "1 deleted\n"
    assert listed(app) == [2]


@pytest.mark.parametrize("command", ["show", "replay", "drop"])
def test_an_unknown_number_is_a_one_line_error(app: Celery, command: str) -> None:
    result = run(app, "quarantine", command, "7")

    assert result.exit_code == 1
    assert result.output.startswith("Error: message 7 is not in quarantine; ")


def test_a_body_that_is_not_utf8_can_be_printed_as_json(
    app: Celery, quarantined: list[int]
) -> None:
    line = run(app, "quarantine", "show", "2", "--json").output

    assert json.loads(line)["reason"] == "an older release"


def test_a_list_has_the_size_of_a_body_and_not_its_content(
    app: Celery, quarantined: list[int], store: TaskStore
) -> None:
    statements: list[str] = []
    event.listen(
        Engine, "before_cursor_execute", lambda *args: statements.append(args[2])
    )
    [second, first] = objects(app, "quarantine", "list")

    assert (second["bytes"], second["task"], second["task_id"]) == (
        2,
        "export.project",
        "1",
    )
    assert "body" not in first and "headers" not in first
    assert not any("quarantine.body, " in each for each in statements)


def test_a_quarantined_message_cannot_control_the_terminal(
    app: Celery, backend: Backend
) -> None:
    evil = "\x1b]0;x\x07\u202e\n:smile:[bold]"
    unread = message(evil, routing_key=evil, odd=evil)
    record = quarantine_record(unread, reason=evil, seen_at=datetime.now(UTC))
    with backend.database.engine.begin() as connection:
        write_batch(connection, [record])

    for words in (["list"], ["show", "1"], ["replay", "1"]):
        for options in ([], ["--json"])[: 1 if words == ["replay", "1"] else 2]:
            text = run(app, "quarantine", *words, *options).output
            assert all(line.isprintable() for line in text.splitlines()), text
    assert ":smile:[bold]" in run(app, "quarantine", "show", "1").output
    [shown] = objects(app, "quarantine", "show", "1")
    assert shown["reason"] == evil

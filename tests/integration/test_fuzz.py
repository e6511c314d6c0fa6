"""The monitor against messages that nobody should send."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from celery import Celery
from kombu import Connection
from sqlalchemy import Engine, Row, Table, create_engine, func, select

from cadasta.workertoolbox.results import TaskStore
from cadasta.workertoolbox.results._tables import attempt, quarantine, task
from integration.fleet import make_app
from integration.monitors import monitor
from integration.mutations import LARGE_EVERY, PUBLISHED_AT, Message, messages
from polling import eventually
from processes import Process
from servers.rabbitmq import GivenRabbitMQ, RabbitMQ

#: Messages of a run.
COUNT = 10_000

#: What they are made from; another number makes others.
SEED = int(os.environ.get("WORKERTOOLBOX_TEST_FUZZ_SEED", "20261124"))


@pytest.fixture
def environment(
    rabbitmq: RabbitMQ | GivenRabbitMQ, database: str
) -> Iterator[dict[str, str]]:
    """A queue of RabbitMQ and each database in turn."""
    with rabbitmq.access() as access:
        yield {
            "WORKERTOOLBOX_BROKER_URL": access.url,
            "WORKERTOOLBOX_RESULT_BACKEND": database,
        }


@pytest.fixture
def app(
    environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> Iterator[Celery]:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    app = make_app()
    yield app
    app.close()


@pytest.fixture
def engine(database: str) -> Iterator[Engine]:
    engine = create_engine(database.removeprefix("workertoolbox+"))
    yield engine
    engine.dispose()


def test_every_message_is_stored_or_kept_in_quarantine_as_it_came(
    app: Celery, environment: dict[str, str], engine: Engine, tmp_path: Path
) -> None:
    print("seed", SEED)
    with monitor(environment, tmp_path, "-l", "ERROR") as process:
        sent = publish(app)
        eventually(lambda: accounted(engine, process, len(sent)), timeout_s=60)
        exit_code = process.stop()

    attempts = rows(engine, attempt, "queue")
    kept = rows(engine, quarantine, "routing_key")
    assert exit_code == 0
    assert process.text == ""
    assert left(app) == 0
    assert attempts.keys() | kept.keys() == sent.keys()
    assert attempts.keys() & kept.keys() == set()
    for key, message in sent.items():
        if message.stored is not None:
            assert (key in attempts) == message.stored, (message, kept.get(key))
        if key in kept:
            assert_kept(message, kept[key])
    stored = rows(engine, task, "queue")
    whole = [message for message in sent.values() if message.kind == "whole"]
    assert len(whole) >= COUNT // 11
    for message in whole:
        assert_stored(message, stored[message.routing_key])
    large = [message for message in sent.values() if message.kind == "large"]
    assert len(large) == COUNT // LARGE_EVERY
    for message in large:
        assert stored[message.routing_key].args == ["<truncated: 1048578 bytes>"]
    with TaskStore(app.conf.result_backend) as store:
        assert len(store.list(limit=2 * COUNT)) == count(engine, task)


def publish(app: Celery) -> dict[str, Message]:
    """Send the messages; return them by their marks."""
    sent = {}
    with Connection(app.conf.broker_url) as connection:
        with app.connection_for_write() as declaring:
            app.amqp.queues["platform.fifo"](declaring.default_channel).declare()
        channel: Any = connection.default_channel
        for message in messages(SEED, COUNT):
            message.publish(channel, "task_exchange")
            sent[message.routing_key] = message
    return sent


def accounted(engine: Engine, monitor: Process, expected: int) -> bool:
    if monitor.exit_code is not None:
        raise ChildProcessError(f"{monitor}:\n{monitor.tail}")
    found = count(engine, attempt) + count(engine, quarantine)
    assert found >= expected, f"{found} of {expected} messages in the database"
    return True


def count(engine: Engine, table: Table) -> int:
    with engine.connect() as connection:
        return connection.execute(select(func.count()).select_from(table)).scalar_one()


def rows(engine: Engine, table: Table, mark: str) -> dict[str, Row[Any]]:
    """Return the rows of a table by the marks of their messages, one for each."""
    with engine.connect() as connection:
        found = list(connection.execute(select(table)))
    marked = {getattr(row, mark): row for row in found}
    assert len(marked) == len(found)
    return marked


def left(app: Celery) -> int:
    """Return how many messages are in the monitor queue, whose reader has ended."""
    with app.connection_for_read() as connection:
        channel: Any = connection.default_channel
        return int(channel.queue_declare("platform.fifo", passive=True).message_count)


def assert_kept(message: Message, row: Row[Any]) -> None:
    if "compression" not in message.headers:
        assert row.body == message.body, message
    for refused in ("the database refuses it", "it cannot be read"):
        assert not row.reason.startswith(refused), (message, row.reason)
    assert len(row.reason) < 1000, message


def assert_stored(message: Message, row: Row[Any]) -> None:
    args, kwargs, _ = json.loads(message.body)
    headers = message.headers
    eta = headers["eta"]

    assert (row.args, row.kwargs) == (args, kwargs)
    assert (row.id, row.name) == (headers["id"], headers["task"])
    assert (row.root_id, row.parent_id) == (headers["root_id"], headers["parent_id"])
    assert (row.group_id, row.retries) == (headers["group"], headers["retries"])
    assert row.eta == (eta and datetime.fromisoformat(eta))
    assert row.scheduled_at == datetime.fromisoformat(PUBLISHED_AT)
    assert (row.origin, row.ignore_result) == (
        headers["origin"],
        headers["ignore_result"],
    )

"""A monitor stores or quarantines any message, however malformed."""

from __future__ import annotations

import json
import os
import random
from base64 import b64encode
from contextlib import ExitStack, closing
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from celery import Celery
from kombu import Connection
from sqlalchemy import Engine, Row, create_engine

from cadasta.workertoolbox.results import TaskStore
from cadasta.workertoolbox.results._database.tables import attempt, quarantine, task
from servers.postgresql import PostgreSQL
from support.brokers import server_broker
from support.echo_service import make_app
from support.envelopes import CORRUPTIONS, encode_envelope
from support.fuzz_messages import LARGE_EVERY, PUBLISHED_AT, Message, generate_messages
from support.polling import wait_until
from support.processes import Process
from support.queue_contents import QueueContents, SQSContents, open_queue_contents
from support.stored_messages import (
    all_written,
    count_rows,
    quarantined_rows,
    rows_by_mark,
)
from support.task_commands import run_monitor

#: Number of messages on RabbitMQ.
COUNT = 10_000

#: Number of messages on each broker where kombu wraps messages in envelopes.
COUNTS = {"redis": 2_000, "sqs": 150, "filesystem": 1_000}

#: One envelope in this many is corrupted.
BROKEN_EVERY = 4

#: Maximum bytes of a message on SQS, in base64.
SQS_BYTES = 256 * 1024

#: The seed of the generated messages.
SEED = int(os.environ.get("WORKERTOOLBOX_TEST_FUZZ_SEED", "20261124"))


def test_every_message_is_stored_or_quarantined_unchanged(
    rabbitmq_app: Celery,
    rabbitmq_environment: dict[str, str],
    engine: Engine,
    tmp_path: Path,
) -> None:
    print("seed", SEED)
    with run_monitor(rabbitmq_environment, tmp_path, "-l", "ERROR") as process:
        sent = publish(rabbitmq_app)
        wait_until(lambda: all_written(engine, process, len(sent)), timeout_s=60)
        exit_code = process.stop()

    attempts = rows_by_mark(engine, attempt, "queue")
    kept = rows_by_mark(engine, quarantine, "routing_key")
    assert exit_code == 0
    assert process.text == ""
    assert count_waiting(rabbitmq_app) == 0
    assert attempts.keys() | kept.keys() == sent.keys()
    assert attempts.keys() & kept.keys() == set()
    for key, message in sent.items():
        if message.stored is not None:
            assert (key in attempts) == message.stored, (message, kept.get(key))
        if key in kept:
            assert_quarantined(message, kept[key])
    stored = rows_by_mark(engine, task, "queue")
    whole = [message for message in sent.values() if message.kind == "valid"]
    assert len(whole) >= COUNT // 11
    for message in whole:
        assert_stored(message, stored[message.routing_key])
    large = [message for message in sent.values() if message.kind == "large"]
    assert len(large) == COUNT // LARGE_EVERY
    for message in large:
        assert stored[message.routing_key].args == ["<truncated: 1048578 bytes>"]
    with TaskStore(rabbitmq_app.conf.result_backend) as store:
        assert len(store.list(limit=2 * COUNT)) == count_rows(engine, task)


def publish(app: Celery) -> dict[str, Message]:
    """Publish the generated messages; return them by their marks."""
    sent = {}
    with Connection(app.conf.broker_url) as connection:
        with app.connection_for_write() as declaring:
            app.amqp.queues["platform.fifo"](declaring.default_channel).declare()
        channel: Any = connection.default_channel
        for message in generate_messages(SEED, COUNT):
            message.publish(channel, "task_exchange")
            sent[message.routing_key] = message
    return sent


def count_waiting(app: Celery) -> int:
    """Return the number of messages in the monitor queue, which nothing consumes."""
    with app.connection_for_read() as connection:
        channel: Any = connection.default_channel
        return int(channel.queue_declare("platform.fifo", passive=True).message_count)


@pytest.mark.parametrize("name", COUNTS)
def test_every_envelope_is_opened_or_quarantined_unchanged(
    name: str,
    request: pytest.FixtureRequest,
    postgresql: PostgreSQL,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    print("seed", SEED)
    with ExitStack() as stack:
        queues = stack.enter_context(open_queue_contents(name, request, tmp_path))
        database = stack.enter_context(postgresql.database())
        broker = server_broker(name, queues.access, database=database)
        for key, value in broker.environment.items():
            monkeypatch.setenv(key, value)
        app = stack.enter_context(closing(make_app()))
        with app.connection_for_write() as connection:
            app.amqp.queues["platform.fifo"](connection.default_channel).declare()
        whole, broken = put(queues, COUNTS[name])
        engine = create_engine(database)
        stack.callback(engine.dispose)
        with run_monitor(broker.environment, tmp_path, "-l", "ERROR") as process:
            wait_until(lambda: drained(queues, process), timeout_s=120)
            exit_code = process.stop()

        assert exit_code == 0
        assert process.text == ""
        attempts, kept = (
            rows_by_mark(engine, attempt, "queue"),
            quarantined_rows(engine),
        )
        known = {row.routing_key: row for row in kept if row.routing_key in whole}
        assert sorted(whole.keys() - attempts.keys() - known.keys()) == []
        assert sorted(attempts.keys() & known.keys()) == []
        for key, message in whole.items():
            if message.stored is not None:
                assert (key in attempts) == message.stored, (message, known.get(key))
            if key in known:
                assert_quarantined(message, known[key])
        stored = rows_by_mark(engine, task, "queue")
        for message in whole.values():
            if message.kind == "valid":
                assert_stored(message, stored[message.routing_key])
        unopened = {bytes(row.body): row.reason for row in kept}
        certain = [raw for raw, certain in broken.items() if certain]
        assert [raw for raw in certain if raw not in unopened] == []
        for raw in certain:
            assert unopened[raw].startswith("not a valid message: ")
        # A message with one changed letter may still be a task, but it is one row.
        found = len(attempts) + len(kept)
        assert found == len(whole) + len(broken)


def drained(queues: QueueContents, monitor: Process) -> bool:
    """Return whether the monitor queue is empty.

    Raises:
        ChildProcessError: The monitor has ended.
    """
    if monitor.exit_code is not None:
        raise ChildProcessError(f"{monitor}:\n{monitor.tail}")
    return queues.is_empty("platform.fifo")


def put(
    queues: QueueContents, count: int
) -> tuple[dict[str, Message], dict[bytes, bool]]:
    """Put messages into the monitor queue, some of them in corrupted envelopes.

    Returns:
        The messages in intact envelopes by their marks, and the corrupted envelopes
        with whether they certainly cannot be opened.
    """
    chance = random.Random(SEED)
    whole: dict[str, Message] = {}
    broken: dict[bytes, bool] = {}
    broken_marks = set()
    for number, message in enumerate(generate_messages(SEED, count)):
        raw = encode_envelope(message)
        if isinstance(queues, SQSContents) and len(raw) > SQS_BYTES * 3 // 4:
            continue
        mark = message.routing_key
        if mark in broken_marks:
            continue  # The corrupted one may be opened, and has the same mark.
        if number % BROKEN_EVERY == 1 and mark not in whole:
            raw, certain = chance.choice(CORRUPTIONS)(chance, raw)
            broken[raw] = certain
            broken_marks.add(mark)
        else:
            whole[mark] = message
            if isinstance(queues, SQSContents):
                raw = b64encode(raw)
        queues.put("platform.fifo", raw)
    return whole, broken


def assert_quarantined(message: Message, row: Row[Any]) -> None:
    """Check that a message was quarantined unchanged, for a short and known reason."""
    assert row.body == message.body, message
    for prefix in ("the database refuses the message", "the message cannot be read"):
        assert not row.reason.startswith(prefix), (message, row.reason)
    assert len(row.reason) < 1000, message


def assert_stored(message: Message, row: Row[Any]) -> None:
    """Check that every field of a message was stored."""
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

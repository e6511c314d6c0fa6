"""The monitor against messages that nobody should send."""

from __future__ import annotations

import json
import os
import random
import re
import zlib
from base64 import b64encode
from collections.abc import Iterator
from contextlib import ExitStack, closing
from datetime import datetime
from hashlib import sha256
from pathlib import Path
from typing import Any

import kombu.compression
import pytest
from amqp import Message as AMQPMessage
from celery import Celery
from kombu import Connection
from sqlalchemy import Engine, Row, Table, create_engine, func, select

from cadasta.workertoolbox.results import TaskStore
from cadasta.workertoolbox.results._database.tables import attempt, quarantine, task
from cadasta.workertoolbox.results._monitor.decompression import MAX_BODY_BYTES
from servers.postgresql import PostgreSQL
from servers.rabbitmq import ExternalRabbitMQ, RabbitMQ
from support.brokers import server_broker
from support.echo_service import make_app
from support.envelopes import CORRUPTIONS, encode_envelope
from support.fuzz_messages import LARGE_EVERY, PUBLISHED_AT, Message, generate_messages
from support.polling import wait_until
from support.processes import Process
from support.queue_contents import QueueContents, SQSContents, open_queue_contents
from support.task_commands import run_monitor

#: Messages of a run on RabbitMQ.
COUNT = 10_000

#: Messages of a run on a broker where kombu puts them into envelopes.
COUNTS = {"redis": 2_000, "sqs": 400, "filesystem": 1_000}

#: One envelope in so many is broken.
BROKEN_EVERY = 4

#: Most bytes of a message on SQS, in base64.
SQS_BYTES = 256 * 1024

#: Bytes of a large message that is not compressed: RabbitMQ 3 takes 128 MiB.
PLAIN_BYTES = 64 * 2**20

#: Bytes that a bomb grows to.
BOMB_BYTES = 512 * 2**20

#: Messages of a mebibyte, all of which a monitor could prefetch.
MANY = 250

#: Most bytes of memory that a monitor may take for a bomb; and for a large message, of
#: which the database's driver has several copies, twice as long each.
PEAK_BYTES = (250 * 2**20, 900 * 2**20)

#: What they are made from; another number makes others.
SEED = int(os.environ.get("WORKERTOOLBOX_TEST_FUZZ_SEED", "20261124"))


@pytest.fixture
def environment(
    rabbitmq: RabbitMQ | ExternalRabbitMQ, result_backend: str
) -> Iterator[dict[str, str]]:
    """A queue of RabbitMQ and each database in turn."""
    with rabbitmq.access() as access:
        yield {
            "WORKERTOOLBOX_BROKER_URL": access.url,
            "WORKERTOOLBOX_RESULT_BACKEND": result_backend,
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
def engine(result_backend: str) -> Iterator[Engine]:
    engine = create_engine(result_backend.removeprefix("workertoolbox+"))
    yield engine
    engine.dispose()


def test_every_message_is_stored_or_kept_in_quarantine_as_it_came(
    app: Celery, environment: dict[str, str], engine: Engine, tmp_path: Path
) -> None:
    print("seed", SEED)
    with run_monitor(environment, tmp_path, "-l", "ERROR") as process:
        sent = publish(app)
        wait_until(lambda: accounted(engine, process, len(sent)), timeout_s=60)
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
        for message in generate_messages(SEED, COUNT):
            message.publish(channel, "task_exchange")
            sent[message.routing_key] = message
    return sent


def accounted(engine: Engine, run_monitor: Process, expected: int) -> bool:
    if run_monitor.exit_code is not None:
        raise ChildProcessError(f"{run_monitor}:\n{run_monitor.tail}")
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


@pytest.mark.parametrize("result_backend", ["postgresql"], indirect=True)
@pytest.mark.parametrize("kind", ["gzip", "zstd", "plain"])
def test_a_message_of_any_size_takes_no_more_memory_than_a_limit_allows(
    app: Celery, environment: dict[str, str], engine: Engine, tmp_path: Path, kind: str
) -> None:
    body = bytes(PLAIN_BYTES) if kind == "plain" else bomb(kind)
    compression = {} if kind == "plain" else {"compression": kind}
    with run_monitor(environment, tmp_path, "-l", "ERROR") as process:
        send(app, body, "huge", **compression)
        send(app, b"[[], {}, {}]", "next")
        wait_until(lambda: accounted(engine, process, 2), timeout_s=60)
        peak_bytes = peak_of(process)
        exit_code = process.stop()
    [kept] = kept_rows(engine)
    with TaskStore(app.conf.result_backend) as store:
        found = [one.id for one in store.list()]

    assert exit_code == 0
    assert peak_bytes < PEAK_BYTES[kind == "plain"]
    assert found == ["next"]
    # Of one that differs pytest would show every line.
    assert sha256(kept.body).digest() == sha256(body).digest()
    assert str(MAX_BODY_BYTES) in kept.reason
    assert kept.headers.get("compression") == compression.get("compression")


@pytest.mark.parametrize("result_backend", ["postgresql"], indirect=True)
def test_a_queue_full_of_large_messages_takes_no_more_memory_than_some_of_them(
    app: Celery, environment: dict[str, str], engine: Engine, tmp_path: Path
) -> None:
    body = json.dumps([["x" * 2**20], {}, {}]).encode()
    send(app, body, *(str(number) for number in range(MANY)))
    with run_monitor(
        environment, tmp_path, "-l", "ERROR", "--batch-wait", "5"
    ) as process:
        wait_until(lambda: accounted(engine, process, MANY), timeout_s=60)
        peak_bytes = peak_of(process)

    assert count(engine, task) == MANY
    assert peak_bytes < PEAK_BYTES[0]


def bomb(method: str) -> bytes:
    """Return zeros, compressed."""
    one: Any = {
        "gzip": zlib.compressobj,
        "zstd": getattr(kombu.compression, "zstd").ZstdCompressor,  # noqa: B009
    }[method]()
    chunk = bytes(2**24)
    count = BOMB_BYTES // len(chunk)
    return b"".join([*(one.compress(chunk) for _ in range(count)), one.flush()])


def send(app: Celery, body: bytes, *ids: str, **headers: Any) -> None:
    """Put a task into the monitor queue, once for each id."""
    with app.connection_for_write() as connection:
        channel: Any = connection.default_channel
        app.amqp.queues["platform.fifo"](channel).declare()
        for id in ids:
            one = AMQPMessage(
                body,
                content_type="application/json",
                content_encoding="utf-8",
                application_headers={"id": id, "task": "export.echo", **headers},
            )
            channel.basic_publish(one, exchange="", routing_key="platform.fifo")


def peak_of(process: Process) -> int:
    """Return the most bytes of memory that a process has had."""
    status = Path(f"/proc/{process.pid}/status").read_text("utf-8")
    [kibibytes] = re.findall(r"^VmHWM:\s+(\d+) kB$", status, re.MULTILINE)
    print("peak of the monitor in MiB", int(kibibytes) // 1024)
    return int(kibibytes) * 1024


@pytest.mark.parametrize("name", COUNTS)
def test_every_envelope_is_opened_or_kept_in_quarantine_as_it_came(
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
        attempts, kept = rows(engine, attempt, "queue"), kept_rows(engine)
        known = {row.routing_key: row for row in kept if row.routing_key in whole}
        assert sorted(whole.keys() - attempts.keys() - known.keys()) == []
        assert sorted(attempts.keys() & known.keys()) == []
        for key, message in whole.items():
            if message.stored is not None:
                assert (key in attempts) == message.stored, (message, known.get(key))
            if key in known:
                assert_kept(message, known[key])
        stored = rows(engine, task, "queue")
        for message in whole.values():
            if message.kind == "whole":
                assert_stored(message, stored[message.routing_key])
        unopened = {bytes(row.body): row.reason for row in kept}
        certain = [raw for raw, certain in broken.items() if certain]
        assert [raw for raw in certain if raw not in unopened] == []
        for raw in certain:
            assert unopened[raw].startswith("not a valid message: ")
        # What was changed by a letter may still be a task, but it is one row.
        found = len(attempts) + len(kept)
        assert found == len(whole) + len(broken)


def drained(queues: QueueContents, run_monitor: Process) -> bool:
    if run_monitor.exit_code is not None:
        raise ChildProcessError(f"{run_monitor}:\n{run_monitor.tail}")
    return queues.is_empty("platform.fifo")


def put(
    queues: QueueContents, count: int
) -> tuple[dict[str, Message], dict[bytes, bool]]:
    """Put messages into the monitor queue, some in envelopes that are broken.

    Returns:
        By their marks those whose envelope is whole, and of the others what was put,
        with whether it is certain that it cannot be opened.
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
            continue  # The second one would be the same, if the first can be opened.
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


def kept_rows(engine: Engine) -> list[Row[Any]]:
    with engine.connect() as connection:
        return list(connection.execute(select(quarantine)))


def assert_kept(message: Message, row: Row[Any]) -> None:
    assert row.body == message.body, message
    for refused in ("the database refuses the message", "the message cannot be read"):
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

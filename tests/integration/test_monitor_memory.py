"""A monitor limits the memory that large messages take."""

from __future__ import annotations

import json
import re
import zlib
from hashlib import sha256
from pathlib import Path
from typing import Any

import kombu.compression
import pytest
from amqp import Message as AMQPMessage
from celery import Celery
from sqlalchemy import Engine

from cadasta.workertoolbox.results import TaskStore
from cadasta.workertoolbox.results._database.tables import task
from cadasta.workertoolbox.results._monitor.decompression import MAX_BODY_BYTES
from support.polling import wait_until
from support.processes import Process
from support.stored_messages import (
    all_written,
    count_rows,
    quarantined_rows,
)
from support.task_commands import run_monitor

#: Bytes of a large message that is not compressed: RabbitMQ 3 takes 128 MiB.
PLAIN_BYTES = 64 * 2**20


#: Bytes that a bomb grows to.
BOMB_BYTES = 512 * 2**20


#: Messages of a mebibyte, all of which a monitor could prefetch.
MANY = 250


#: Most bytes of memory that a monitor may take for a bomb; and for a large message, of
#: which the database's driver has several copies, twice as long each.
PEAK_BYTES = (250 * 2**20, 900 * 2**20)


@pytest.mark.parametrize("result_backend", ["postgresql"], indirect=True)
@pytest.mark.parametrize("kind", ["gzip", "zstd", "plain"])
def test_the_memory_for_one_message_of_any_size_is_limited(
    rabbitmq_app: Celery,
    rabbitmq_environment: dict[str, str],
    engine: Engine,
    tmp_path: Path,
    kind: str,
) -> None:
    body = bytes(PLAIN_BYTES) if kind == "plain" else bomb(kind)
    compression = {} if kind == "plain" else {"compression": kind}
    with run_monitor(rabbitmq_environment, tmp_path, "-l", "ERROR") as process:
        send(rabbitmq_app, body, "huge", **compression)
        send(rabbitmq_app, b"[[], {}, {}]", "next")
        wait_until(lambda: all_written(engine, process, 2), timeout_s=60)
        peak_bytes = peak_of(process)
        exit_code = process.stop()
    [kept] = quarantined_rows(engine)
    with TaskStore(rabbitmq_app.conf.result_backend) as store:
        found = [one.id for one in store.list()]

    assert exit_code == 0
    assert peak_bytes < PEAK_BYTES[kind == "plain"]
    assert found == ["next"]
    # Of one that differs pytest would show every line.
    assert sha256(kept.body).digest() == sha256(body).digest()
    assert str(MAX_BODY_BYTES) in kept.reason
    assert kept.headers.get("compression") == compression.get("compression")


@pytest.mark.parametrize("result_backend", ["postgresql"], indirect=True)
def test_the_memory_for_a_queue_full_of_large_messages_is_limited(
    rabbitmq_app: Celery,
    rabbitmq_environment: dict[str, str],
    engine: Engine,
    tmp_path: Path,
) -> None:
    body = json.dumps([["x" * 2**20], {}, {}]).encode()
    send(rabbitmq_app, body, *(str(number) for number in range(MANY)))
    with run_monitor(
        rabbitmq_environment, tmp_path, "-l", "ERROR", "--batch-wait", "5"
    ) as process:
        wait_until(lambda: all_written(engine, process, MANY), timeout_s=60)
        peak_bytes = peak_of(process)

    assert count_rows(engine, task) == MANY
    assert peak_bytes < PEAK_BYTES[0]


def bomb(method: str) -> bytes:
    """Return zeros, compressed."""
    one: Any = {
        "gzip": zlib.compressobj,
        "zstd": getattr(kombu.compression, "zstd").ZstdCompressor,  # noqa: B009
    }[method]()
    chunk = bytes(2**24)
    count_rows = BOMB_BYTES // len(chunk)
    return b"".join([*(one.compress(chunk) for _ in range(count_rows)), one.flush()])


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

"""A monitor limits the memory that large messages take."""

from __future__ import annotations

import json
import re
import zlib
from collections.abc import Iterable
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
from cadasta.workertoolbox.results._monitor.size_limits import MAX_BODY_BYTES
from support.polling import wait_until
from support.processes import Process
from support.stored_messages import all_written, count_rows, quarantined_rows
from support.task_commands import run_monitor

#: Bytes of an uncompressed large message. RabbitMQ 3 accepts up to 128 MiB.
PLAIN_BYTES = 64 * 2**20

#: Bytes of a decompression bomb once it is decompressed.
BOMB_BYTES = 512 * 2**20

#: A body below the limit, whose five million values would take more than a gigabyte.
VALUES = b'[[], {}, {"x": [%b0]}]' % (b"{}," * 5_000_000)

#: Number of messages of 1 MiB; a monitor may prefetch all of them.
MANY = 250

#: Maximum bytes of memory of a monitor that receives a bomb or many messages.
PEAK_BYTES = 250 * 2**20

#: The same for one large uncompressed message: the driver of the database holds several
#: copies, each twice as long.
PLAIN_PEAK_BYTES = 900 * 2**20


@pytest.mark.parametrize("result_backend", ["postgresql"], indirect=True)
@pytest.mark.parametrize("kind", ["gzip", "zstd", "plain"])
def test_the_memory_for_one_message_of_any_size_is_limited(
    rabbitmq_app: Celery,
    rabbitmq_environment: dict[str, str],
    engine: Engine,
    tmp_path: Path,
    kind: str,
) -> None:
    compression = {} if kind == "plain" else {"compression": kind}
    if kind == "plain":
        bodies = {"huge": bytes(PLAIN_BYTES)}
    else:
        zeros = [bytes(2**24)] * (BOMB_BYTES // 2**24)
        bodies = {"huge": compress(zeros, kind), "values": compress([VALUES], kind)}
    with run_monitor(rabbitmq_environment, tmp_path, "-l", "ERROR") as process:
        for id, body in bodies.items():
            send(rabbitmq_app, body, id, **compression)
        send(rabbitmq_app, b"[[], {}, {}]", "next")
        wait_until(lambda: all_written(engine, process, len(bodies) + 1), timeout_s=60)
        peak_bytes = peak_memory(process)
        exit_code = process.stop()
    kept = {row.headers["id"]: row for row in quarantined_rows(engine)}
    with TaskStore(rabbitmq_app.conf.result_backend) as store:
        found = [one.id for one in store.list()]

    assert exit_code == 0
    assert peak_bytes < (PLAIN_PEAK_BYTES if kind == "plain" else PEAK_BYTES)
    assert found == ["next"]
    assert kept.keys() == bodies.keys()
    # Digests, because pytest would print the whole body if it differs.
    assert sha256(kept["huge"].body).digest() == sha256(bodies["huge"]).digest()
    assert str(MAX_BODY_BYTES) in kept["huge"].reason
    if "values" in kept:
        assert "values" in kept["values"].reason
    for each in kept.values():
        assert each.headers.get("compression") == compression.get("compression")


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
        peak_bytes = peak_memory(process)

    assert count_rows(engine, task) == MANY
    assert peak_bytes < PEAK_BYTES


def compress(chunks: Iterable[bytes], method: str) -> bytes:
    """Return bytes compressed, such as a decompression bomb."""
    compressor: Any = {
        "gzip": zlib.compressobj,
        "zstd": getattr(kombu.compression, "zstd").ZstdCompressor,  # noqa: B009
    }[method]()
    parts = [compressor.compress(chunk) for chunk in chunks]
    return b"".join([*parts, compressor.flush()])


def send(app: Celery, body: bytes, *ids: str, **headers: Any) -> None:
    """Put a message with this body into the monitor queue, once for each id."""
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


def peak_memory(process: Process) -> int:
    """Return the peak memory of a process, in bytes."""
    status = Path(f"/proc/{process.pid}/status").read_text("utf-8")
    [kibibytes] = re.findall(r"^VmHWM:\s+(\d+) kB$", status, re.MULTILINE)
    print("peak memory of the monitor in MiB", int(kibibytes) // 1024)
    return int(kibibytes) * 1024

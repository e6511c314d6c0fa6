"""A worker survives every message, whatever Celery would do with it."""

from __future__ import annotations

import math
import re
import struct
import sys
import zlib
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import kombu.compression
import pytest

from support.hostile_messages import HOSTILE
from support.polling import wait_until
from support.processes import Process
from support.queue_contents import BROKERS, QueueContents, open_queue_contents
from support.routing_processes import (
    executions,
    routing_app,
    run_worker,
)

#: The models of kombu's SQLAlchemy transport cause this warning.
pytestmark = pytest.mark.filterwarnings("ignore:The ``noload`` loader")

#: A text that forges a log line and controls the terminal.
FORGED = "x\n[2020-01-01: ERROR] forged\x1b[31m\x9b2J\u202e\u2028\r[2020-01-01: forged"

#: Values in JSON that take much more memory than they have bytes.
VALUES = (b"{}", b"[]", b"[0]", b'{"":0}', b'{"":{}}', b"9", b'"\\u4e00"', b"[[[]]]")

#: Most memory in bytes of a worker that rejects bombs: its own, with the client of SQS,
#: and that of a body of 16 MiB with its copies. Unbounded it would take gigabytes.
MAX_PEAK_BYTES = 300 * 2**20

#: Brokers that deliver messages in different forms, and each pool with one of them: a
#: pool gets the same request from each.
BROKERS_AND_POOLS = [
    ("rabbitmq", "prefork"),
    ("rabbitmq", "solo"),
    ("rabbitmq", "threads"),
    ("redis", "prefork"),
    ("filesystem", "prefork"),
]


@pytest.fixture(params=BROKERS)
def name(request: pytest.FixtureRequest) -> str:
    """Each broker in turn."""
    return str(request.param)


@pytest.fixture
def queues(
    request: pytest.FixtureRequest, tmp_path: Path, name: str
) -> Iterator[QueueContents]:
    """The broker `name`, used by this test alone."""
    with open_queue_contents(name, request, tmp_path) as queues:
        yield queues


@pytest.fixture
def deep_stack() -> Iterator[None]:
    """Let py-amqp encode headers that are nested deeper than Python's default."""
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(10_000)
    yield
    sys.setrecursionlimit(limit)


@pytest.mark.usefixtures("deep_stack")
@pytest.mark.parametrize(("name", "pool"), BROKERS_AND_POOLS)
def test_no_message_ends_a_worker(
    queues: QueueContents, name: str, tmp_path: Path, pool: str
) -> None:
    with routing_app(queues) as app:
        with app.connection_for_write() as connection:
            for queue in app.amqp.queues.values():
                queue(connection.default_channel).declare()
            producer = connection.Producer(serializer="json")
            for number, (headers, body) in enumerate(HOSTILE):
                if headers.get("id") == "hostile":
                    headers = {**headers, "id": f"hostile {number}"}
                if name == "rabbitmq" and not _is_finite(headers):
                    continue  # RabbitMQ closes the connection.
                with suppress(struct.error):  # AMQP has no such number
                    producer.publish(body, routing_key="export", headers=headers)
        with run_worker(queues, tmp_path, "-P", pool, "-c", "1") as process:
            process.wait_for("ready")
            last = app.send_task("export.note").id
            wait_until(
                lambda: last in executions(tmp_path) or process.exit_code is not None,
                timeout_s=60,
            )
            exit_code = process.stop()

    assert exit_code == 0
    assert last in executions(tmp_path)


@pytest.mark.parametrize("name", ["rabbitmq", "filesystem"])
def test_a_message_cannot_forge_a_log_line(
    queues: QueueContents, tmp_path: Path
) -> None:
    valid = {"id": "forged", "task": "export.note"}
    texts = ("id", "task", "shadow", "argsrepr", "kwargsrepr", "root_id", "origin")
    with routing_app(queues) as app:
        first = app.send_task("export.note").id
        with app.connection_for_write() as connection:
            producer = connection.Producer(serializer="json")
            for number, text in enumerate(texts):
                headers = {**valid, "id": f"forged {number}", text: FORGED}
                producer.publish([[], {}, {}], routing_key="export", headers=headers)
                headers = {**headers, "task": "export.unknown", text: FORGED}
                producer.publish([[], {}, {}], routing_key="export", headers=headers)
            odd: tuple[Any, ...] = (FORGED, [FORGED], {FORGED: FORGED})
            for value in odd:
                headers = {**valid, "retries": value, FORGED: FORGED}
                producer.publish([[], {}, {}], routing_key="export", headers=headers)
                producer.publish([[], {}, value], routing_key="export", headers=valid)
            producer.publish(FORGED, routing_key="export", headers=valid)
            producer.publish(FORGED, routing_key="export")
        queues.put("export", FORGED.encode())
        last = app.send_task("export.note").id
        with run_worker(queues, tmp_path, "-P", "solo") as process:
            wait_until(lambda: last in executions(tmp_path))
            exit_code = process.stop()

    assert exit_code == 0
    assert first in executions(tmp_path)
    assert not re.findall("[\x1b\x9b\u202e\u2028]", process.text)
    assert not [line for line in process.text.splitlines() if line.startswith("[2020")]


@pytest.mark.parametrize("kind", ["bombs", "many values"])
@pytest.mark.parametrize("name", ["rabbitmq", "redis", "sqs", "filesystem"])
def test_a_compressed_message_cannot_take_the_memory_of_a_worker(
    queues: QueueContents,
    tmp_path: Path,
    compressed: dict[str, dict[str, tuple[str, bytes]]],
    kind: str,
) -> None:
    bodies = compressed[kind]
    valid = {"large"} & bodies.keys()
    with routing_app(queues) as app:
        first = app.send_task("export.note", compression="gzip").id
        with app.connection_for_write() as connection:
            producer = connection.Producer()
            for id, (method, body) in bodies.items():
                producer.publish(
                    body,
                    routing_key="export",
                    content_type="application/json",
                    content_encoding="binary",
                    headers={"id": id, "task": "export.note", "compression": method},
                )
        last = app.send_task("export.note", compression="zlib").id
        with run_worker(queues, tmp_path, "-P", "solo") as process:
            wait_until(lambda: last in executions(tmp_path), timeout_s=60)
            peak_bytes = peak_memory(process)
            exit_code = process.stop()

    assert exit_code == 0
    assert executions(tmp_path) == sorted([first, *valid, last])
    assert process.text.count("malformed task") == len(bodies) - len(valid)
    assert peak_bytes < MAX_PEAK_BYTES


@pytest.fixture(scope="module")
def compressed() -> dict[str, dict[str, tuple[str, bytes]]]:
    """Methods and compressed bodies by the ids of tasks, of which `large` may run."""
    counts = {item: 15 * 2**20 // (len(item) + 1) for item in VALUES}
    many = {
        f"many {number}": b'[[],{},{"x":[%b]}]' % b",".join([item] * count)
        for number, (item, count) in enumerate(counts.items())
    }
    many["large"] = b'[[],{},{"x":[%b]}]' % b",".join([b"0"] * 200_000)
    bombs = {
        f"bomb {method}": (method, kombu.compression.compress(bytes(2**28), method)[0])
        for method in kombu.compression.encoders()
    }
    values = {id: ("gzip", zlib.compress(body)) for id, body in many.items()}
    return {"bombs": bombs, "many values": values}


def _is_finite(headers: dict[str, Any]) -> bool:
    limits = headers.get("timelimit")
    return not isinstance(limits, list) or all(
        math.isfinite(limit) for limit in limits if isinstance(limit, float)
    )


def peak_memory(process: Process) -> int:
    """Return the peak memory of a process, in bytes."""
    status = Path(f"/proc/{process.pid}/status").read_text("utf-8")
    [kibibytes] = re.findall(r"VmHWM:\s+(\d+) kB", status)
    return int(kibibytes) * 1024

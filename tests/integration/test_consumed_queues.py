"""A worker never consumes the monitor queue, whatever remote control says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from support.polling import wait_until
from support.queue_contents import QueueContents
from support.routing_processes import routing_app, run_worker, wait_for_executions

#: Arguments of `add_consumer` with which a worker would run copies, or end.
REFUSED: tuple[dict[str, Any], ...] = (
    {"queue": "platform.fifo"},
    {
        "queue": "platform.fifo",
        "exchange": "task_exchange",
        "exchange_type": "topic",
        "routing_key": "#",
    },
    {
        "queue": "audit",
        "exchange": "task_exchange",
        "exchange_type": "topic",
        "routing_key": "#",
    },
    {
        "queue": "audit",
        "exchange": "task_exchange",
        "exchange_type": "topic",
        "routing_key": "*",
    },
    {"queue": ""},
    {"queue": ["export"]},
    {"queue": 7},
    {"queue": {"a": 1}},
)


@pytest.mark.parametrize("queues", ["rabbitmq", "redis"], indirect=True)
@pytest.mark.parametrize("pool", ["prefork", "solo", "threads"])
def test_remote_control_cannot_make_a_worker_run_copies(
    queues: QueueContents, tmp_path: Path, pool: str
) -> None:
    with (
        routing_app(queues) as app,
        run_worker(queues, tmp_path, "-P", pool, "-c", "1") as process,
    ):
        process.wait_for("ready")
        for arguments in REFUSED:
            app.control.broadcast("add_consumer", arguments=arguments)
        wait_until(lambda: process.text.count("cannot consume queue") == len(REFUSED))
        ids = sorted(app.send_task("export.note").id for _ in range(20))
        wait_for_executions(tmp_path, ids)
        copies = queues.ids("platform.fifo")
        exit_code = process.stop()

    assert copies == ids
    assert exit_code == 0


@pytest.mark.parametrize("queues", ["rabbitmq"], indirect=True)
def test_a_worker_survives_a_queue_that_the_broker_refuses(
    queues: QueueContents, tmp_path: Path
) -> None:
    with (
        routing_app(queues) as app,
        run_worker(queues, tmp_path, "-P", "prefork", "-c", "1") as process,
    ):
        process.wait_for("ready")
        app.control.add_consumer("x", exchange="task_exchange", exchange_type="fanout")
        process.wait_for("cannot consume queue x")
        app.control.add_consumer("platform.fifo")
        ids = sorted(app.send_task("export.note").id for _ in range(5))
        wait_for_executions(tmp_path, ids)
        exit_code = process.stop()

    assert exit_code == 0
    assert queues.ids("platform.fifo") == ids

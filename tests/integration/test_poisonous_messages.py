"""A message that has ended two workers is not delivered to a third one."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
from celery import Celery, states

from cadasta.workertoolbox.results import TaskStore
from support.brokers import Broker
from support.poisoned_pool import POISON
from support.polling import wait_until
from support.processes import SERVICE_FOLDER, running
from support.queue_contents import QueueContents, RedisContents, SQSContents
from support.routing_processes import routing_app, run_worker, wait_for_executions
from support.task_commands import call_tasks_command, run_monitor

#: Transport options with which Redis and SQS redeliver messages within seconds.
FAST_REDELIVERY = {"visibility_timeout": 1, "unacked_restore_throttle": 1}


@pytest.mark.parametrize(
    "queues", ["rabbitmq", "redis", "sqs", "filesystem"], indirect=True
)
def test_a_message_that_ended_two_workers_is_rejected_by_the_third(
    queues: QueueContents, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    is_slow = isinstance(queues, RedisContents | SQSContents)
    options = FAST_REDELIVERY if is_slow else {}
    settings = {
        "broker_transport_options": options,
        "worker_pool": "poisoned_pool:Pool",
    }
    with routing_app(queues, broker_transport_options=options) as app:
        app.send_task("export.note", task_id=POISON)
        for _ in range(2):
            with run_worker(queues, tmp_path, **settings) as process:
                process.wait()
        last = app.send_task("export.note").id
        with run_worker(queues, tmp_path, **settings) as process:
            process.wait_for("it has ended two workers")
            wait_for_executions(tmp_path, [last])
            exit_code = process.stop()
        copies = queues.messages("platform.fifo")

    assert exit_code == 0
    details = [copy["headers"].get("workertoolbox_unreadable") for copy in copies]
    assert {"error": "it has ended two workers"} in details


@pytest.mark.parametrize("broker", ["rabbitmq"], indirect=True)
def test_such_a_message_is_in_the_quarantine_and_its_task_has_failed(
    broker: Broker, app: Celery, store: TaskStore, tmp_path: Path
) -> None:
    app.send_task("export.echo", [1], task_id=POISON)
    environment = {
        **broker.environment,
        "CELERY_CUSTOM_WORKER_POOL": "support.poisoned_pool:Pool",
        "PYTHONPATH": os.pathsep.join([str(SERVICE_FOLDER.parent), *sys.path]),
    }
    command = [sys.executable, "-m", "celery", "-A", "echo_service"]
    worker = [*command, "--workdir", str(SERVICE_FOLDER), "worker", "-P", "custom"]
    for _ in range(2):
        with running(worker, folder=tmp_path, environment=environment) as process:
            process.wait()
    with (
        run_monitor(broker.environment, tmp_path),
        running(worker, folder=tmp_path, environment=environment) as process,
    ):
        process.wait_for("it has ended two workers")
        wait_until(
            lambda: (task := store.find(POISON)) and task.status == states.FAILURE
        )
        wait_until(
            lambda: "ended two workers" in call_tasks_command(app, "quarantine", "list")
        )
        assert process.exit_code is None

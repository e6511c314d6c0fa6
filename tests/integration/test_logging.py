"""Log lines about a task have its ids."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest
from celery import Celery

from servers.rabbitmq import ExternalRabbitMQ, RabbitMQ
from support.brokers import Broker, folder_broker, open_app, server_broker
from support.logging_service import BARRIER_PARTIES, make_app
from support.polling import wait_until
from support.processes import SERVICE_FOLDER, Process, running

SECRET = "s3cr3t-and-nobody-else-writes-this"
IDS = ("task_id", "root_id", "queue", "task_name")


@pytest.fixture
def broker(tmp_path: Path) -> Broker:
    """The file system as broker, and SQLite."""
    return folder_broker(tmp_path / ".workertoolbox")


@pytest.fixture
def quorum(rabbitmq: RabbitMQ | ExternalRabbitMQ, tmp_path: Path) -> Iterator[Broker]:
    """RabbitMQ with quorum queues, where the broker delays tasks."""
    database = f"sqlite:///{tmp_path / 'results.sqlite'}"
    with rabbitmq.access() as access:
        yield server_broker("quorum", access, database=database)


@pytest.fixture
def service(broker: Broker, monkeypatch: pytest.MonkeyPatch) -> Iterator[Celery]:
    """The logging service, with a migrated database."""
    with open_app(broker, make_app, monkeypatch) as app:
        yield app


def worker(
    broker: Broker, folder: Path, *arguments: str, **environment: str
) -> AbstractContextManager[Process]:
    """Run a worker of the service."""
    options = ("-c", "2", "--without-gossip", "--without-mingle", *arguments)
    return run_celery(broker, folder, "worker", *options, **environment)


def run_celery(
    broker: Broker, folder: Path, name: str, *arguments: str, **environment: str
) -> AbstractContextManager[Process]:
    """Run one of Celery's commands without its banner."""
    command = [sys.executable, "-m", "celery", "-q", "-A", "logging_service"]
    return running(
        [*command, "--workdir", str(SERVICE_FOLDER), name, "-l", "INFO", *arguments],
        folder=folder,
        environment={**broker.environment, **environment},
        name=name,
    )


def json_lines(process: Process) -> list[dict[str, Any]]:
    """Return the parsed lines of the log, without other output of Celery."""
    written = process.text.splitlines()
    return [json.loads(line) for line in written if line.startswith("{")]


@pytest.mark.parametrize("pool", ["prefork", "threads", "solo"])
def test_every_log_line_about_a_task_has_its_ids(
    service: Celery, broker: Broker, tmp_path: Path, pool: str
) -> None:
    first = service.tasks["export.work"].delay("again", password=SECRET)
    failed = service.tasks["export.fail"].delay(SECRET)
    with worker(
        broker, tmp_path, "-P", pool, WORKERTOOLBOX_LOG_FORMAT="json"
    ) as process:
        process.wait_for("it fails")
        process.wait_for(f'"root_id": "{first.id}"')
        found = wait_for_lines(process, "succeeded", 2)
        process.stop()
    [second] = {
        line["task_id"] for line in found if is_about_second_task(line, first.id)
    }
    expected = {
        "celery.worker.strategy": "received",
        "tasks": "one\ntwo",
        "library": "of a library",
        "celery.redirected": "printed",
        "celery.app.trace": "succeeded",
    }

    for task_id in (first.id, second):
        ids = dict(zip(IDS, (task_id, first.id, "export", "export.work"), strict=True))
        about = [line for line in found if line["task_id"] == task_id]
        assert {line["logger"] for line in about} == expected.keys()
        for line in about:
            assert {name: line[name] for name in IDS} == ids
            assert expected[line["logger"]] in line["message"]
    [error] = [line for line in found if line["level"] == "ERROR"]
    assert error["task_id"] == failed.id
    assert error["exception"].endswith("LookupError: it fails")
    assert "extra" not in error
    [extra] = {json.dumps(line["extra"]) for line in found if line["logger"] == "tasks"}
    assert "odd" in extra
    assert any(line["task_id"] is None for line in found)
    assert SECRET not in process.text


def is_about_second_task(line: dict[str, Any], root_id: str) -> bool:
    """Return whether a line is about the task that the first one sent."""
    return bool(line["root_id"] == root_id != line["task_id"])


def wait_for_lines(process: Process, text: str, count: int) -> list[dict[str, Any]]:
    """Wait until the log has a text `count` times, and return its lines."""
    wait_until(lambda: process.text.count(text) >= count)
    return json_lines(process)


def test_log_lines_about_killed_tasks_have_their_ids(
    service: Celery, broker: Broker, tmp_path: Path
) -> None:
    hung = service.tasks["export.hang"].delay().id
    lost = service.tasks["export.vanish"].delay().id
    with worker(broker, tmp_path, WORKERTOOLBOX_LOG_FORMAT="json") as process:
        process.wait_for("Hard time limit")
        process.wait_for("WorkerLostError")
        # Celery's worker may hang if it is stopped just after it has killed a task.
        process.kill()
    [late] = [line for line in json_lines(process) if "Hard time" in line["message"]]
    [gone] = [line for line in json_lines(process) if "WorkerLostError" in str(line)]

    assert [late[name] for name in IDS] == [hung, hung, "export", "export.hang"]
    assert [gone[name] for name in IDS] == [lost, lost, "export", "export.vanish"]
    assert (gone["process"], gone["level"]) == (process.pid, "ERROR")


def test_log_lines_of_concurrent_tasks_have_the_ids_of_their_own_task(
    service: Celery, broker: Broker, tmp_path: Path
) -> None:
    ids = {service.tasks["export.meet"].delay().id for _ in range(BARRIER_PARTIES)}
    options = ("-P", "threads", "-c", str(BARRIER_PARTIES))
    with worker(broker, tmp_path, *options, WORKERTOOLBOX_LOG_FORMAT="json") as process:
        found = wait_for_lines(process, "succeeded", BARRIER_PARTIES)
        process.kill()
    about = [line for line in found if line["task_name"] == "export.meet"]

    for task_id in ids:
        own = [line for line in about if task_id in line["message"]]
        assert sorted(line["logger"] for line in own) == [
            "celery.app.trace",
            "celery.worker.strategy",
            "library",
            "tasks",
        ]
        assert {(line["task_id"], line["root_id"]) for line in own} == {(task_id,) * 2}
    assert len(about) == 4 * BARRIER_PARTIES


def test_a_task_delayed_by_rabbitmq_is_logged_with_its_work_queue(
    quorum: Broker, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with (
        open_app(quorum, make_app, monkeypatch) as app,
        worker(
            quorum, tmp_path, "-P", "solo", WORKERTOOLBOX_LOG_FORMAT="json"
        ) as process,
    ):
        sent = app.tasks["export.work"].apply_async(countdown=1)
        process.wait_for("succeeded")
        process.kill()
    about = [line for line in json_lines(process) if sent.id in str(line)]

    assert {line["logger"] for line in about} >= {"celery.worker.strategy", "tasks"}
    assert {line["queue"] for line in about} == {"export"}


def test_a_plain_log_has_message_and_ids_on_one_line(
    service: Celery, broker: Broker, tmp_path: Path
) -> None:
    sent = service.tasks["export.work"].delay()
    with worker(broker, tmp_path, WORKERTOOLBOX_LOG_FORMAT="plain") as process:
        process.wait_for("succeeded")
        process.stop()
    ids = f"task_id={sent.id} root_id={sent.id} queue=export task_name=export.work"

    assert f"INFO tasks: {ids} one\\ntwo\n" in process.text
    assert f"INFO celery.worker.strategy: {ids} Task export.work" in process.text
    assert f"WARNING library: {ids} of a library\n" in process.text


def test_beat_logs_json_too(service: Celery, broker: Broker, tmp_path: Path) -> None:
    schedule = str(tmp_path / "schedule")
    with run_celery(
        broker, tmp_path, "beat", "-s", schedule, WORKERTOOLBOX_LOG_FORMAT="json"
    ) as process:
        process.wait_for("Sending due task")
        process.stop()
    [line, *_] = [
        line for line in json_lines(process) if "Sending due" in line["message"]
    ]

    assert line["logger"] == "celery.beat"
    assert [line[name] for name in IDS] == [None] * len(IDS)


def test_without_the_setting_the_log_has_the_format_of_celery(
    service: Celery, broker: Broker, tmp_path: Path
) -> None:
    sent = service.tasks["export.work"].delay()
    with worker(broker, tmp_path) as process:
        process.wait_for("succeeded")
        process.stop()

    assert f"INFO/MainProcess] Task export.work[{sent.id}] received\n" in process.text
    assert "root_id" not in process.text

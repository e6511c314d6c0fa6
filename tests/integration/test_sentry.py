"""Sentry receives failures with the ids of their tasks, and no secrets."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from celery import Celery

from servers.access import BrokerAccess
from support.brokers import Broker, open_app
from support.polling import wait_until
from support.processes import SERVICE_FOLDER, Process, running
from support.queue_contents import FileSystemContents
from support.sentry_server import SentryServer, run_sentry_server
from support.sentry_service import make_app

SECRET = "s3cr3t-and-nobody-else-writes-this"
TAGS = ("task_id", "root_id", "queue", "task_name", "retries")

#: A `sitecustomize.py` that makes the import of the SDK fail.
WITHOUT_SDK = 'import sys\nsys.modules["sentry_sdk"] = None\n'

pytestmark = pytest.mark.parametrize("broker", ["filesystem"], indirect=True)


@pytest.fixture
def service(broker: Broker, monkeypatch: pytest.MonkeyPatch) -> Iterator[Celery]:
    """The Sentry service, with a migrated database."""
    with open_app(broker, make_app, monkeypatch) as app:
        yield app


@pytest.fixture
def sentry() -> Iterator[SentryServer]:
    """A server that records events for Sentry."""
    with run_sentry_server() as server:
        yield server


def run_celery(
    broker: Broker, folder: Path, *arguments: str, **environment: str
) -> AbstractContextManager[Process]:
    """Run one of Celery's commands, with a password on its command line."""
    url = f"filesystem://me:{SECRET}@localhost/"
    command = [sys.executable, "-m", "celery", "-q", "-b", url, "-A", "sentry_service"]
    return running(
        [*command, "--workdir", str(SERVICE_FOLDER), *arguments, "-l", "INFO"],
        folder=folder,
        environment={**broker.environment, "PASSWORD": SECRET, **environment},
        name=arguments[0],
    )


def worker(
    broker: Broker, folder: Path, *arguments: str, **environment: str
) -> AbstractContextManager[Process]:
    """Run a worker of the service."""
    options = ("-c", "2", "--without-gossip", "--without-mingle")
    return run_celery(broker, folder, "worker", *options, *arguments, **environment)


def tags_of(event: dict[str, Any]) -> tuple[str | None, ...]:
    """Return the tags of an event that identify a task."""
    return tuple(event["tags"].get(name) for name in TAGS)


def send_all(service: Celery) -> dict[str, str]:
    """Send a task of each kind and a malformed message; return the task ids."""
    ids = {
        name.removeprefix("export."): service.send_task(name, kwargs=kwargs).id
        for name, kwargs in {
            "export.work": {},
            "export.fail": {"password": SECRET},
            "export.fail_in_turn": {"password": SECRET},
            "export.ignore": {},
            "export.reject": {},
            "export.log": {"password": SECRET},
            "export.hang": {"password": SECRET},
            "export.unknown": {"password": SECRET},
        }.items()
    }
    options = service.conf.broker_transport_options
    queues = FileSystemContents(BrokerAccess(service.conf.broker_url, options))
    queues.put("export", SECRET.encode())
    return ids


def test_a_failed_task_is_one_event_with_ids_and_without_secrets(
    service: Celery, broker: Broker, tmp_path: Path, sentry: SentryServer
) -> None:
    ids = send_all(service)
    with worker(broker, tmp_path, SENTRY_DSN=sentry.dsn) as process:
        process.wait_for("malformed message")
        # Until then Celery may give a task to the process that was killed.
        process.wait_for("exited with 'signal 15")
        wait_until(lambda: sentry.events_with_tags(task_id=ids["fail_in_turn"]))
        # The process that sends its event ends with the worker.
        last = service.send_task("export.fail", kwargs={"password": SECRET}).id
        process.wait_for(f"export.fail[{last}] raised")
        process.stop()
    ids["last"] = last
    found = {
        name: [tags_of(each) for each in sentry.events_with_tags(task_id=task_id)]
        for name, task_id in ids.items()
    }
    [failed] = sentry.events_with_tags(task_id=ids["fail"])
    others = [each for each in sentry.events if "task_id" not in each["tags"]]

    assert found == {
        "work": [],
        "fail": [(ids["fail"], ids["fail"], "export", "export.fail", "0")],
        "fail_in_turn": [
            (*[ids["fail_in_turn"]] * 2, "export", "export.fail_in_turn", "1")
        ],
        "ignore": [],
        "reject": [],
        "log": [(ids["log"], ids["log"], "export", "export.log", "0")],
        "hang": [(ids["hang"], ids["hang"], "export", "export.hang", None)],
        "unknown": [],
        "last": [(last, last, "export", "export.fail", "0")],
    }
    assert failed["extra"] == {}
    assert failed["transaction"] == "export.fail"
    assert failed["exception"]["values"][0]["type"] == "LookupError"
    assert sorted(each["logger"] for each in others) == [
        "cadasta.workertoolbox.routing._worker",
        "celery.worker.consumer.consumer",
    ]
    assert SECRET in process.text
    assert SECRET.encode() not in b"".join(sentry.bodies)


def test_a_lost_task_is_one_event_unless_it_runs_again(
    service: Celery, broker: Broker, tmp_path: Path, sentry: SentryServer
) -> None:
    lost, retried = (
        service.send_task(name, kwargs={"password": SECRET}).id
        for name in ("export.vanish", "export.vanish_in_turn")
    )
    with worker(broker, tmp_path, SENTRY_DSN=sentry.dsn) as process:
        for task_id in (lost, retried):
            wait_until(partial(sentry.events_with_tags, task_id=task_id))
        exit_code = process.stop()
    found = {
        task_id: [tags_of(each) for each in sentry.events_with_tags(task_id=task_id)]
        for task_id in (lost, retried)
    }
    texts = [each["logentry"]["formatted"] for each in sentry.events]

    assert exit_code == 0
    assert process.text.count("exited with 'signal 9 (SIGKILL)'") == 3
    assert found == {
        lost: [(lost, lost, "export", "export.vanish", None)],
        retried: [(retried, retried, "export", "export.vanish_in_turn", None)],
    }
    assert ["WorkerLostError" in text for text in texts] == [True, True]
    assert SECRET.encode() not in b"".join(sentry.bodies)


def test_workers_with_threads_send_events(
    service: Celery, broker: Broker, tmp_path: Path, sentry: SentryServer
) -> None:
    sent = service.send_task("export.fail", kwargs={"password": SECRET}).id
    with worker(broker, tmp_path, "-P", "threads", SENTRY_DSN=sentry.dsn) as process:
        process.wait_for("raised unexpected")
        process.stop()
    [event] = sentry.events

    assert tags_of(event) == (sent, sent, "export", "export.fail", "0")
    assert SECRET.encode() not in b"".join(sentry.bodies)


def test_one_setting_turns_sentry_off(
    service: Celery, broker: Broker, tmp_path: Path, sentry: SentryServer
) -> None:
    service.send_task("export.fail", kwargs={"password": SECRET})
    with worker(
        broker,
        tmp_path,
        "-P",
        "solo",
        SENTRY_DSN=sentry.dsn,
        WORKERTOOLBOX_SENTRY="false",
    ) as process:
        process.wait_for("raised unexpected")
        process.stop()

    assert sentry.bodies == []


def test_a_services_own_sentry_setup_is_left_alone(
    service: Celery, broker: Broker, tmp_path: Path, sentry: SentryServer
) -> None:
    service.send_task("export.fail", kwargs={"password": SECRET})
    with (
        run_sentry_server() as unused,
        worker(broker, tmp_path, SENTRY_DSN=unused.dsn, OWN_DSN=sentry.dsn) as process,
    ):
        wait_until(lambda: sentry.events)
        process.kill()
    [event] = sentry.events

    assert unused.bodies == []
    assert event["release"] == "own"
    assert "celery-job" in event["extra"]
    assert "task_id" not in event["tags"]


def test_a_service_that_initializes_sentry_with_our_options_sends_the_ids(
    service: Celery, broker: Broker, tmp_path: Path, sentry: SentryServer
) -> None:
    ids = {
        name: service.send_task(name, kwargs={"password": SECRET}).id
        for name in ("export.fail", "export.hang")
    }
    own = {"OWN_DSN": sentry.dsn, "OWN_OPTIONS": "yes"}
    with worker(broker, tmp_path, **own) as process:
        for task_id in ids.values():
            wait_until(partial(sentry.events_with_tags, task_id=task_id))
        process.kill()
    found = {tags_of(event) for event in sentry.events}

    assert found == {
        (ids["export.fail"], ids["export.fail"], "export", "export.fail", "0"),
        (ids["export.hang"], ids["export.hang"], "export", "export.hang", None),
    }
    assert SECRET.encode() not in b"".join(sentry.bodies)


@pytest.mark.parametrize(
    "arguments", [("worker", "-P", "solo"), ("beat", "-S", "celery.beat:Scheduler")]
)
def test_without_the_sdk_a_warning_names_the_extra_to_install(
    service: Celery,
    broker: Broker,
    tmp_path: Path,
    sentry: SentryServer,
    arguments: tuple[str, ...],
) -> None:
    (tmp_path / "sitecustomize.py").write_text(WITHOUT_SDK)
    path = f"{tmp_path}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"
    service.send_task("export.work")
    with run_celery(
        broker, tmp_path, *arguments, SENTRY_DSN=sentry.dsn, PYTHONPATH=path
    ) as process:
        process.wait_for("succeeded" if "solo" in arguments else "Sending due task")
        process.kill()
    [line] = [line for line in process.text.splitlines() if "SENTRY" in line]

    assert "WARNING" in line
    assert "workertoolbox-conf[sentry]" in line
    assert sentry.bodies == []


def test_beat_sends_an_event_for_a_task_it_cannot_publish(
    broker: Broker, tmp_path: Path, sentry: SentryServer
) -> None:
    arguments = ("beat", "-S", "celery.beat:Scheduler")
    with run_celery(broker, tmp_path, *arguments, SENTRY_DSN=sentry.dsn) as process:
        wait_until(lambda: sentry.events)
        process.stop()

    assert "'nowhere' is not declared" in sentry.events[0]["logentry"]["formatted"]
    assert SECRET.encode() not in b"".join(sentry.bodies)

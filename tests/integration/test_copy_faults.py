"""A copy that cannot be made neither doubles nor stops the task."""

from __future__ import annotations

import logging
import os
from base64 import b64decode
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

import pytest
from celery import Celery
from kombu.exceptions import OperationalError

from cadasta.workertoolbox.routing import CopyFailed
from support import aws
from support.conformance import through
from support.proxy import proxied
from support.queue_contents import (
    VIRTUAL,
    Depot,
    FileSystemDepot,
    RedisDepot,
    SQLAlchemyDepot,
    SQSDepot,
    in_folder,
    opened,
)
from support.services import service

#: kombu's models, not ours, warn with this SQLAlchemy.
pytestmark = pytest.mark.filterwarnings("ignore:The ``noload`` loader")

MONITOR = "platform.fifo"

#: A work queue whose name is longer than the monitor queue's by seven letters and more.
FAR = "export-far-far-away-from-here"

QUEUES = ["export", "msg", FAR]

#: What SQS answers to a request that will never be let through.
DENIED = (403, "AccessDenied")

#: Have PostgreSQL refuse what is put into one queue of kombu's.
REFUSING_ROWS = (
    """
    CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql
    AS $$ BEGIN RAISE EXCEPTION 'refused by the test'; END $$
    """,
    """
    DO $$ BEGIN EXECUTE format(
        'CREATE TRIGGER refuse BEFORE INSERT ON kombu_message FOR EACH ROW'
        ' WHEN (NEW.queue_id = %s) EXECUTE FUNCTION refuse()',
        (SELECT id FROM kombu_queue WHERE name = '{queue}')
    ); END $$
    """,
)

#: Celery's own tries at publishing, without waiting between them.
RETRIED = {
    "task_publish_retry": True,
    "task_publish_retry_policy": {
        "max_retries": 2,
        "interval_start": 0,
        "interval_step": 0,
        "interval_max": 0,
    },
}

#: Have botocore try once, so that all further tries are the transport's.
TRIED_ONCE = {"client-config": {"retries": {"total_max_attempts": 1}}}


@pytest.fixture(params=VIRTUAL)
def depot(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Depot]:
    """Each broker in turn on which the client makes the copies."""
    with opened(request.param, request, tmp_path) as depot:
        yield depot


@contextmanager
def refused(depot: Depot, queue: str, **settings: Any) -> Iterator[Celery]:
    """Yield an app whose connection is up when its broker refuses one queue.

    That ends with the block.
    """
    settings = {"queues": QUEUES, **RETRIED, **settings}
    with ExitStack() as stack:
        if isinstance(depot, SQSDepot):
            name = depot.prefix + queue
            stack.enter_context(aws.seen(lambda one: _denied(one, name)))
        elif isinstance(depot, FileSystemDepot):
            path = too_long_a_path(depot.folder, queue)
            settings["broker_transport_options"] = {"data_folder_out": path}
        app = stack.enter_context(service(depot, **settings))
        if not isinstance(depot, FileSystemDepot):
            app.send_task("export.note", task_id="before", queue="msg")
        if isinstance(depot, RedisDepot):
            stack.enter_context(_no_list(depot, queue))
        elif isinstance(depot, SQLAlchemyDepot):
            stack.enter_context(_no_row(depot, queue))
        yield app


def _denied(request: aws.Request, queue: str) -> aws.Refusal | None:
    if request.operation != "SendMessage" or request.queue != queue:
        return None
    return None if b'"before"' in b64decode(request.body["MessageBody"]) else DENIED


@contextmanager
def _no_list(depot: RedisDepot, queue: str) -> Iterator[None]:
    with depot.connected() as client:
        before = client.dump(depot.key(queue))
        client.set(depot.key(queue), "no list")
        yield
        client.delete(depot.key(queue))
        if before:
            client.restore(depot.key(queue), 0, before)


@contextmanager
def _no_row(depot: SQLAlchemyDepot, queue: str) -> Iterator[None]:
    for statement in REFUSING_ROWS:
        depot.execute(statement.format(queue=queue))
    yield
    depot.execute("DROP TRIGGER refuse ON kombu_message")


def too_long_a_path(folder: Path, queue: str) -> str:
    """Return a path to a folder in which the names of a queue's files are too long.

    Those of a queue that has a name shorter by seven letters are not.
    """
    name = f"{0:020}_{UUID(int=0)}.{queue}.msg"
    longest = os.pathconf("/", "PC_PATH_MAX") - 1
    detour = f"/../{folder.name}"
    path = str(folder)
    while len(f"{path}/{name}") <= longest:
        path += detour
    return path


def errors(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Return what the toolbox has logged as an error."""
    return [
        record.getMessage()
        for record in caplog.records
        if record.levelno >= logging.ERROR and record.name.startswith("cadasta")
    ]


def test_a_failing_monitor_queue_neither_doubles_nor_stops_a_task(
    depot: Depot, caplog: pytest.LogCaptureFixture
) -> None:
    with refused(depot, MONITOR) as app:
        caplog.clear()
        ids = sorted(app.send_task("export.note").id for _ in range(3))
        logged = errors(caplog)
    with service(depot) as app:
        later = app.send_task("export.note").id

    assert depot.ids("export") == sorted([*ids, later])
    assert later in depot.ids(MONITOR) and not {*ids} & {*depot.ids(MONITOR)}
    assert len(logged) == 3
    for id in ids:
        assert sum(id in line and repr(MONITOR) in line for line in logged) == 1


def test_a_failing_monitor_queue_is_an_error_on_demand_after_the_task_went_out(
    depot: Depot,
) -> None:
    caught = []
    with refused(depot, MONITOR, COPY_FAILURE="raise") as app:
        for _ in range(2):
            with pytest.raises(CopyFailed) as raised:
                app.send_task("export.note")
            caught.append(raised.value)

    assert depot.ids("export") == sorted(error.id for error in caught)
    assert {error.queue for error in caught} == {MONITOR}


def test_a_failing_work_queue_is_an_error_at_the_caller_that_can_try_again(
    depot: Depot,
) -> None:
    with refused(depot, FAR) as app:
        with pytest.raises(Exception) as raised:
            app.send_task("export.note", queue=FAR, task_id="1")
    first = depot.ids(FAR)
    with service(depot, queues=QUEUES) as app:
        app.send_task("export.note", queue=FAR, task_id="1")

    assert not isinstance(raised.value, CopyFailed)
    assert first == []
    assert depot.ids(FAR) == ["1"]
    assert [id for id in depot.ids(MONITOR) if id != "before"] == ["1"]


@pytest.mark.parametrize("depot", ["redis", "sqs"], indirect=True)
def test_a_monitor_queue_that_cannot_be_declared_stops_no_task(
    depot: Depot, caplog: pytest.LogCaptureFixture
) -> None:
    with ExitStack() as stack:
        if isinstance(depot, RedisDepot):
            stack.enter_context(_no_list(depot, MONITOR))
        else:
            stack.enter_context(aws.seen(_denied_monitor))
        app = stack.enter_context(service(depot))
        id = app.send_task("export.note").id
        logged = errors(caplog)

    assert depot.ids("export") == [id]
    assert any(repr(MONITOR) in line for line in logged)


def _denied_monitor(request: aws.Request) -> aws.Refusal | None:
    name = request.body.get("QueueName", request.queue)
    return DENIED if name.endswith(MONITOR) else None


def test_a_put_that_failed_leaves_no_file_behind(tmp_path: Path) -> None:
    depot = FileSystemDepot(in_folder(tmp_path))
    with refused(depot, MONITOR) as app:
        app.send_task("export.note")
    [left] = [path.name for path in depot.folder.iterdir() if path.is_file()]

    assert left.endswith(".export.msg")


@pytest.mark.parametrize(
    "depot", ["rabbitmq", "redis", "sqs", "sqlalchemy"], indirect=True
)
def test_a_broker_that_is_away_is_an_error_at_the_caller_that_can_try_again(
    depot: Depot,
) -> None:
    url = urlsplit(depot.access.url)
    options = TRIED_ONCE if isinstance(depot, SQSDepot) else {}
    with proxied(str(url.hostname), int(url.port or 0)) as proxy:
        away = {"broker_url": through(depot.access.url, proxy)}
        with service(depot, broker_transport_options=options, **RETRIED | away) as app:
            app.send_task("export.note", task_id="before")
            proxy.refuse()
            proxy.cut()
            with pytest.raises(OperationalError):
                app.send_task("export.note", task_id="1")
            proxy.accept()
            app.send_task("export.note", task_id="1")

    assert depot.ids("export") == depot.ids(MONITOR) == ["1", "before"]

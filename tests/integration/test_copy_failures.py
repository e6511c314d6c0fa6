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
from support import sqs_requests
from support.proxy import proxied_url, run_proxy
from support.queue_contents import (
    VIRTUAL_BROKERS,
    FileSystemContents,
    QueueContents,
    RedisContents,
    SQLAlchemyContents,
    SQSContents,
    folder_access,
    open_queue_contents,
)
from support.routing_processes import routing_app

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


@pytest.fixture(params=VIRTUAL_BROKERS)
def queues(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[QueueContents]:
    """Each broker in turn on which the client makes the copies."""
    with open_queue_contents(request.param, request, tmp_path) as queues:
        yield queues


@contextmanager
def refused(queues: QueueContents, queue: str, **settings: Any) -> Iterator[Celery]:
    """Yield an app whose connection is up when its broker refuses one queue.

    That ends with the block.
    """
    settings = {"queues": QUEUES, **RETRIED, **settings}
    with ExitStack() as stack:
        if isinstance(queues, SQSContents):
            name = queues.prefix + queue
            stack.enter_context(sqs_requests.recorded(lambda one: _denied(one, name)))
        elif isinstance(queues, FileSystemContents):
            path = too_long_a_path(queues.folder, queue)
            settings["broker_transport_options"] = {"data_folder_out": path}
        app = stack.enter_context(routing_app(queues, **settings))
        if not isinstance(queues, FileSystemContents):
            app.send_task("export.note", task_id="before", queue="msg")
        if isinstance(queues, RedisContents):
            stack.enter_context(_no_list(queues, queue))
        elif isinstance(queues, SQLAlchemyContents):
            stack.enter_context(_no_row(queues, queue))
        yield app


def _denied(
    request: sqs_requests.Request, queue: str
) -> sqs_requests.ErrorResponse | None:
    if request.operation != "SendMessage" or request.queue != queue:
        return None
    return None if b'"before"' in b64decode(request.body["MessageBody"]) else DENIED


@contextmanager
def _no_list(queues: RedisContents, queue: str) -> Iterator[None]:
    with queues.connected() as client:
        before = client.dump(queues.key(queue))
        client.set(queues.key(queue), "no list")
        yield
        client.delete(queues.key(queue))
        if before:
            client.restore(queues.key(queue), 0, before)


@contextmanager
def _no_row(queues: SQLAlchemyContents, queue: str) -> Iterator[None]:
    for statement in REFUSING_ROWS:
        queues.execute(statement.format(queue=queue))
    yield
    queues.execute("DROP TRIGGER refuse ON kombu_message")


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


def test_a_failing_monitor_queue_neither_duplicates_nor_stops_a_task(
    queues: QueueContents, caplog: pytest.LogCaptureFixture
) -> None:
    with refused(queues, MONITOR) as app:
        caplog.clear()
        ids = sorted(app.send_task("export.note").id for _ in range(3))
        logged = errors(caplog)
    with routing_app(queues) as app:
        later = app.send_task("export.note").id

    assert queues.ids("export") == sorted([*ids, later])
    assert later in queues.ids(MONITOR) and not {*ids} & {*queues.ids(MONITOR)}
    assert len(logged) == 3
    for id in ids:
        assert sum(id in line and repr(MONITOR) in line for line in logged) == 1


def test_a_failed_copy_raises_on_demand_after_the_task_was_sent(
    queues: QueueContents,
) -> None:
    caught = []
    with refused(queues, MONITOR, COPY_FAILURE="raise") as app:
        for _ in range(2):
            with pytest.raises(CopyFailed) as raised:
                app.send_task("export.note")
            caught.append(raised.value)

    assert queues.ids("export") == sorted(error.id for error in caught)
    assert {error.queue for error in caught} == {MONITOR}


def test_a_failing_work_queue_is_an_error_at_the_caller_who_can_send_again(
    queues: QueueContents,
) -> None:
    with refused(queues, FAR) as app:
        with pytest.raises(Exception) as raised:
            app.send_task("export.note", queue=FAR, task_id="1")
    first = queues.ids(FAR)
    with routing_app(queues, queues=QUEUES) as app:
        app.send_task("export.note", queue=FAR, task_id="1")

    assert not isinstance(raised.value, CopyFailed)
    assert first == []
    assert queues.ids(FAR) == ["1"]
    assert [id for id in queues.ids(MONITOR) if id != "before"] == ["1"]


@pytest.mark.parametrize("queues", ["redis", "sqs"], indirect=True)
def test_a_monitor_queue_that_cannot_be_declared_does_not_stop_a_task(
    queues: QueueContents, caplog: pytest.LogCaptureFixture
) -> None:
    with ExitStack() as stack:
        if isinstance(queues, RedisContents):
            stack.enter_context(_no_list(queues, MONITOR))
        else:
            stack.enter_context(sqs_requests.recorded(_denied_monitor))
        app = stack.enter_context(routing_app(queues))
        id = app.send_task("export.note").id
        logged = errors(caplog)

    assert queues.ids("export") == [id]
    assert any(repr(MONITOR) in line for line in logged)


def _denied_monitor(request: sqs_requests.Request) -> sqs_requests.ErrorResponse | None:
    name = request.body.get("QueueName", request.queue)
    return DENIED if name.endswith(MONITOR) else None


def test_a_failed_publish_leaves_no_file_behind(tmp_path: Path) -> None:
    queues = FileSystemContents(folder_access(tmp_path))
    with refused(queues, MONITOR) as app:
        app.send_task("export.note")
    [left] = [path.name for path in queues.folder.iterdir() if path.is_file()]

    assert left.endswith(".export.msg")


@pytest.mark.parametrize(
    "queues", ["rabbitmq", "redis", "sqs", "sqlalchemy"], indirect=True
)
def test_an_unavailable_broker_is_an_error_at_the_caller_who_can_send_again(
    queues: QueueContents,
) -> None:
    url = urlsplit(queues.access.url)
    options = TRIED_ONCE if isinstance(queues, SQSContents) else {}
    with run_proxy(str(url.hostname), int(url.port or 0)) as proxy:
        away = {"broker_url": proxied_url(queues.access.url, proxy)}
        with routing_app(
            queues, broker_transport_options=options, **RETRIED | away
        ) as app:
            app.send_task("export.note", task_id="before")
            proxy.refuse_connections()
            proxy.cut()
            with pytest.raises(OperationalError):
                app.send_task("export.note", task_id="1")
            proxy.accept_connections()
            app.send_task("export.note", task_id="1")

    assert queues.ids("export") == queues.ids(MONITOR) == ["1", "before"]

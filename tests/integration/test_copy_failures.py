"""A copy that cannot be sent neither duplicates nor stops the task."""

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
from redis import Connection, ConnectionError

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

#: The models of kombu's SQLAlchemy transport cause this warning.
pytestmark = pytest.mark.filterwarnings("ignore:The ``noload`` loader")

MONITOR = "platform.fifo"

#: A work queue. Its name is more than seven letters longer than the monitor queue's,
#: which `overlong_path` needs.
LONG_QUEUE = "export-with-a-very-long-name"

QUEUES = ["export", "msg", LONG_QUEUE]

#: The response of SQS to a request that no policy allows.
DENIED = (403, "AccessDenied")

#: Make PostgreSQL refuse messages for one queue of kombu's SQLAlchemy transport.
REFUSE_ROWS = (
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

#: Celery's own retries of publishing, without a delay.
RETRY_SETTINGS = {
    "task_publish_retry": True,
    "task_publish_retry_policy": {
        "max_retries": 2,
        "interval_start": 0,
        "interval_step": 0,
        "interval_max": 0,
    },
}

#: Transport options that turn off the retries of botocore.
NO_BOTOCORE_RETRIES = {"client-config": {"retries": {"total_max_attempts": 1}}}


@pytest.fixture(params=VIRTUAL_BROKERS)
def queues(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[QueueContents]:
    """Each broker in turn where the client sends the copies."""
    with open_queue_contents(request.param, request, tmp_path) as queues:
        yield queues


@contextmanager
def refusing_app(
    queues: QueueContents, queue: str, **settings: Any
) -> Iterator[Celery]:
    """Yield a connected app whose broker refuses messages for one queue.

    The broker accepts them again when the block ends.
    """
    settings = {"queues": QUEUES, **RETRY_SETTINGS, **settings}
    with ExitStack() as stack:
        if isinstance(queues, SQSContents):
            name = queues.prefix + queue
            stack.enter_context(
                sqs_requests.recorded(lambda one: _deny_queue(one, name))
            )
        elif isinstance(queues, FileSystemContents):
            path = overlong_path(queues.folder, queue)
            settings["broker_transport_options"] = {"data_folder_out": path}
        app = stack.enter_context(routing_app(queues, **settings))
        if not isinstance(queues, FileSystemContents):
            app.send_task("export.note", task_id="before", queue="msg")
        if isinstance(queues, RedisContents):
            stack.enter_context(_refuse_list(queues, queue))
        elif isinstance(queues, SQLAlchemyContents):
            stack.enter_context(_refuse_rows(queues, queue))
        yield app


def _deny_queue(
    request: sqs_requests.Request, queue: str
) -> sqs_requests.ErrorResponse | None:
    """Deny messages for a queue, except the first one."""
    if request.operation != "SendMessage" or request.queue != queue:
        return None
    return None if b'"before"' in b64decode(request.body["MessageBody"]) else DENIED


@contextmanager
def _refuse_list(queues: RedisContents, queue: str) -> Iterator[None]:
    """Make Redis refuse pushes to a queue: replace its list by a string."""
    with queues.connected() as client:
        before = client.dump(queues.key(queue))
        client.set(queues.key(queue), "no list")
        yield
        client.delete(queues.key(queue))
        if before:
            client.restore(queues.key(queue), 0, before)


@contextmanager
def _refuse_rows(queues: SQLAlchemyContents, queue: str) -> Iterator[None]:
    """Make PostgreSQL refuse messages for a queue."""
    for statement in REFUSE_ROWS:
        queues.execute(statement.format(queue=queue))
    yield
    queues.execute("DROP TRIGGER refuse ON kombu_message")


def overlong_path(folder: Path, queue: str) -> str:
    """Return a path to a folder in which the files of a queue exceed `PATH_MAX`.

    The files of a queue whose name is at least seven letters shorter do not.
    """
    name = f"{0:020}_{UUID(int=0)}.{queue}.msg"
    longest = os.pathconf("/", "PC_PATH_MAX") - 1
    detour = f"/../{folder.name}"
    path = str(folder)
    while len(f"{path}/{name}") <= longest:
        path += detour
    return path


def logged_errors(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Return the logged_errors that the toolbox has logged."""
    return [
        record.getMessage()
        for record in caplog.records
        if record.levelno >= logging.ERROR and record.name.startswith("cadasta")
    ]


def test_a_failing_monitor_queue_neither_duplicates_nor_stops_a_task(
    queues: QueueContents, caplog: pytest.LogCaptureFixture
) -> None:
    with refusing_app(queues, MONITOR) as app:
        caplog.clear()
        ids = sorted(app.send_task("export.note").id for _ in range(3))
        logged = logged_errors(caplog)
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
    with refusing_app(queues, MONITOR, COPY_FAILURE="raise") as app:
        for _ in range(2):
            with pytest.raises(CopyFailed) as raised:
                app.send_task("export.note")
            caught.append(raised.value)

    assert queues.ids("export") == sorted(error.id for error in caught)
    assert {error.queue for error in caught} == {MONITOR}


def test_a_failing_work_queue_is_an_error_at_the_caller_who_can_send_again(
    queues: QueueContents,
) -> None:
    with refusing_app(queues, LONG_QUEUE) as app:
        with pytest.raises(Exception) as raised:
            app.send_task("export.note", queue=LONG_QUEUE, task_id="1")
    first = queues.ids(LONG_QUEUE)
    with routing_app(queues, queues=QUEUES) as app:
        app.send_task("export.note", queue=LONG_QUEUE, task_id="1")

    assert not isinstance(raised.value, CopyFailed)
    assert first == []
    assert queues.ids(LONG_QUEUE) == ["1"]
    assert [id for id in queues.ids(MONITOR) if id != "before"] == ["1"]


@pytest.mark.parametrize("queues", ["redis", "sqs"], indirect=True)
def test_a_monitor_queue_that_cannot_be_declared_does_not_stop_a_task(
    queues: QueueContents, caplog: pytest.LogCaptureFixture
) -> None:
    with ExitStack() as stack:
        if isinstance(queues, RedisContents):
            stack.enter_context(_refuse_list(queues, MONITOR))
        else:
            stack.enter_context(sqs_requests.recorded(_deny_monitor_queue))
        app = stack.enter_context(routing_app(queues))
        id = app.send_task("export.note").id
        logged = logged_errors(caplog)

    assert queues.ids("export") == [id]
    assert any(repr(MONITOR) in line for line in logged)


def _deny_monitor_queue(
    request: sqs_requests.Request,
) -> sqs_requests.ErrorResponse | None:
    """Deny every request for the monitor queue."""
    name = request.body.get("QueueName", request.queue)
    return DENIED if name.endswith(MONITOR) else None


@pytest.mark.parametrize("queues", ["redis"], indirect=True)
def test_a_connection_that_ends_after_a_task_was_sent_leaves_it_with_its_copy(
    queues: RedisContents, monkeypatch: pytest.MonkeyPatch
) -> None:
    send: Any = Connection.send_packed_command
    key = f"{queues.key('export')}\r\n".encode()
    has_sent = False

    def send_one_task(self: Connection, command: Any, **options: Any) -> None:
        nonlocal has_sent
        if has_sent:
            raise ConnectionError("cut by the test")
        send(self, command, **options)
        has_sent = key in b"".join(command)

    with routing_app(queues) as app:
        app.send_task("export.note", task_id="before", queue="msg")
        with monkeypatch.context() as patch:
            patch.setattr(Connection, "send_packed_command", send_one_task)
            app.send_task("export.note", task_id="1", retry=False)

    assert queues.ids("export") == ["1"]
    assert queues.ids(MONITOR) == ["1", "before"]


def test_a_failed_publish_leaves_no_file_behind(tmp_path: Path) -> None:
    queues = FileSystemContents(folder_access(tmp_path))
    with refusing_app(queues, MONITOR) as app:
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
    options = NO_BOTOCORE_RETRIES if isinstance(queues, SQSContents) else {}
    with run_proxy(str(url.hostname), int(url.port or 0)) as proxy:
        away = {"broker_url": proxied_url(queues.access.url, proxy)}
        with routing_app(
            queues, broker_transport_options=options, **RETRY_SETTINGS | away
        ) as app:
            app.send_task("export.note", task_id="before")
            proxy.refuse_connections()
            proxy.cut()
            with pytest.raises(OperationalError):
                app.send_task("export.note", task_id="1")
            proxy.accept_connections()
            app.send_task("export.note", task_id="1")

    assert queues.ids("export") == queues.ids(MONITOR) == ["1", "before"]

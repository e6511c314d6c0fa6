"""Workers reject malformed messages and keep running."""

from __future__ import annotations

import json
import os
from base64 import b64encode
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from celery import Celery

from support.malformed_messages import (
    MALFORMED_BYTES,
    MALFORMED_TASKS,
    MALFORMED_TEXTS,
    S3_NOTIFICATION,
    envelope,
)
from support.polling import wait_until
from support.queue_contents import (
    BROKERS,
    VIRTUAL_BROKERS,
    QueueContents,
    SQSContents,
    open_queue_contents,
)
from support.routing_processes import (
    consume_ids,
    routing_app,
    run_worker,
    wait_for_executions,
)
from support.routing_service import consume

#: The models of kombu's SQLAlchemy transport cause this warning.
pytestmark = pytest.mark.filterwarnings("ignore:The ``noload`` loader")

#: A secret in a message, and the body of a task with it as an envelope contains it.
SECRET = "s3cret-that-nobody-else-writes"
SECRET_BODY = b64encode(json.dumps([[SECRET], {}, {}]).encode()).decode()

_SECRET_ARGUMENTS = [["ann", SECRET], {"token": SECRET}, {}]
_SECRET_HEADERS = {"id": "1", "argsrepr": repr(_SECRET_ARGUMENTS[0]), "api_key": SECRET}

#: Headers and bodies with the secret: of a malformed task, of one that is not
#: registered, and of a message without a task, which Celery drops with a warning.
SECRET_TASKS: tuple[tuple[dict[str, object], object], ...] = (
    (
        {**_SECRET_HEADERS, "task": "export.note", "timelimit": SECRET[:3]},
        _SECRET_ARGUMENTS,
    ),
    ({**_SECRET_HEADERS, "task": "export.unregistered"}, _SECRET_ARGUMENTS),
    ({**_SECRET_HEADERS}, {"password": SECRET, "cvv": [SECRET]}),
)

#: Texts with the secret that kombu cannot parse.
SECRET_TEXTS = (
    json.dumps(envelope(body=SECRET_BODY))[:-1],
    json.dumps({"clientSecret": SECRET}),
)

#: The brokers that store bytes, not only text.
BINARY_BROKERS = ("redis", "filesystem")


@pytest.fixture(params=VIRTUAL_BROKERS)
def name(request: pytest.FixtureRequest) -> str:
    """Each broker in turn where the client wraps messages in envelopes."""
    return str(request.param)


@pytest.fixture
def queues(
    request: pytest.FixtureRequest, tmp_path: Path, name: str
) -> Iterator[QueueContents]:
    """The broker `name`, used by this test alone."""
    with open_queue_contents(name, request, tmp_path) as queues:
        yield queues


@dataclass(frozen=True)
class Rejections:
    """What a worker did with a queue of malformed messages between two tasks.

    Attributes:
        broker: One of `BROKERS`.
        messages: The number of messages that kombu cannot parse.
        log: The output of the worker.
        exit_code: The exit code of the worker, which was stopped at the end.
        is_empty: Whether the queue was empty then.
    """

    broker: str
    messages: int
    log: str
    exit_code: int
    is_empty: bool


@pytest.fixture(scope="module", params=BROKERS)
def rejections(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Rejections:
    """A worker on each broker in turn that got every kind of malformed message."""
    name: str = request.param
    folder = tmp_path_factory.mktemp(name)
    malformed = malformed_messages(name)
    with (
        open_queue_contents(name, request, folder) as queues,
        routing_app(queues) as app,
    ):
        first = app.send_task("export.note").id
        for raw in malformed:
            queues.put("export", raw)
        publish(app, *MALFORMED_TASKS, *SECRET_TASKS)
        last = app.send_task("export.note").id
        with run_worker(queues, folder, "-P", "prefork", "-c", "1") as process:
            wait_for_executions(folder, [first, last])
            # When the worker has handled this message, it has also read that the pool
            # runs the last task, and has acknowledged that one.
            publish(app, MALFORMED_TASKS[0])
            counts = {
                "malformed message": len(malformed),
                "malformed task": len(MALFORMED_TASKS) + 2,
            }
            wait_until(
                lambda: {text: process.text.count(text) for text in counts} == counts
            )
            exit_code = process.stop()
        is_empty = queues.is_empty("export")
        return Rejections(name, len(malformed), process.text, exit_code, is_empty)


def publish(app: Celery, *tasks: tuple[dict[str, Any], Any]) -> None:
    """Publish headers and bodies that Celery would not send."""
    with app.connection_for_write() as connection:
        producer = connection.Producer(serializer="json")
        for headers, body in tasks:
            producer.publish(body, routing_key="export", headers=headers)


def malformed_messages(name: str) -> list[bytes]:
    """Return what kombu cannot parse, as far as a broker stores it."""
    if name not in VIRTUAL_BROKERS:
        return []
    found = [text.encode("utf-8") for text in (*MALFORMED_TEXTS, *SECRET_TEXTS)]
    return [*found, *(MALFORMED_BYTES if name in BINARY_BROKERS else ())]


def test_a_worker_rejects_malformed_messages_and_keeps_running(
    rejections: Rejections,
) -> None:
    # One line for each message, and one for the task that is not registered. The first
    # malformed task is sent twice, and the last one with a secret is a warning.
    errors = rejections.messages + len(MALFORMED_TASKS) + 1 + len(SECRET_TASKS) - 1

    assert rejections.exit_code == 0
    assert rejections.is_empty
    assert rejections.log.count("ERROR/") == errors


@pytest.mark.parametrize("rejections", VIRTUAL_BROKERS, indirect=True, scope="module")
def test_a_worker_logs_malformed_messages(rejections: Rejections) -> None:
    assert json.dumps(S3_NOTIFICATION) in rejections.log
    if rejections.broker in BINARY_BROKERS:
        assert r"\xff\xfe{" in rejections.log


def test_no_secret_of_a_rejected_message_is_logged(rejections: Rejections) -> None:
    assert "unregistered" in rejections.log and "unknown message" in rejections.log
    assert SECRET not in rejections.log
    assert SECRET_BODY not in rejections.log


@pytest.mark.parametrize("name", ["filesystem"])
def test_a_fault_of_the_worker_does_not_reject_a_task(
    queues: QueueContents, tmp_path: Path
) -> None:
    with routing_app(queues) as app:
        app.send_task("export.note")
        with run_worker(queues, tmp_path, worker_pool="broken_pool:Pool") as process:
            process.wait()

    assert "this pool takes nothing" in process.text
    assert "malformed task" not in process.text
    assert not queues.is_empty("export")


@pytest.mark.parametrize("name", ["filesystem"])
def test_a_worker_of_a_folder_leaves_odd_files_alone(
    queues: QueueContents, tmp_path: Path
) -> None:
    box = tmp_path / "box"
    with routing_app(queues) as app:
        first = app.send_task("export.note").id
        (box / f"{'0' * 20}_folder.export.msg").mkdir()
        os.mkfifo(box / f"{'0' * 20}_pipe.export.msg")
        (box / f"{'0' * 20}_link.export.msg").symlink_to("/dev/zero")
        with run_worker(queues, tmp_path, "-P", "solo") as process:
            wait_for_executions(tmp_path, [first])
            last = app.send_task("export.note").id
            wait_for_executions(tmp_path, [first, last])
            exit_code = process.stop()

    assert exit_code == 0
    assert "ERROR" not in process.text
    assert len(list(box.glob("*.export.msg"))) == 3


def test_requeued_messages_return_to_their_queue_whatever_their_delivery_info_says(
    queues: QueueContents,
) -> None:
    exchanges: tuple[object, ...] = ("", "celery", None, [])
    with routing_app(queues) as app:
        with app.connection_for_read() as connection:
            for queue in app.amqp.queues.values():
                queue(connection.default_channel).declare()
            for exchange in exchanges:
                false_info = {"exchange": exchange, "routing_key": "export"}
                raw = json.dumps(envelope(delivery_info=false_info)).encode()
                queues.put("platform.fifo", raw)
            for message in consume(app, connection, "platform.fifo", len(exchanges)):
                message.requeue()
        ids = consume_ids(app, "platform.fifo", len(exchanges))

        assert ids == ["malformed"] * len(exchanges)
    assert queues.is_empty("export")


def test_sqs_moves_malformed_messages_to_the_dead_letter_queue(
    sqs_queues: SQSContents, tmp_path: Path
) -> None:
    client = sqs_queues.client()
    dead_letter_url = client.create_queue(QueueName=f"{sqs_queues.prefix}dead")[
        "QueueUrl"
    ]
    found = client.get_queue_attributes(
        QueueUrl=dead_letter_url, AttributeNames=["QueueArn"]
    )
    redrive = {
        "deadLetterTargetArn": found["Attributes"]["QueueArn"],
        "maxReceiveCount": 1,
    }
    # After this second the message is received again.
    options = {"visibility_timeout": 1}
    raw = json.dumps(S3_NOTIFICATION)
    with routing_app(sqs_queues, broker_transport_options=options) as app:
        first = app.send_task("export.note").id
        client.set_queue_attributes(
            QueueUrl=sqs_queues.url("export"),
            Attributes={"RedrivePolicy": json.dumps(redrive)},
        )
        sqs_queues.put("export", raw.encode())
        with run_worker(
            sqs_queues, tmp_path, "-P", "solo", broker_transport_options=options
        ):
            wait_for_executions(tmp_path, [first])
            dead_letters = wait_until(
                lambda: client.receive_message(QueueUrl=dead_letter_url).get("Messages")
            )

    assert [letter["Body"] for letter in dead_letters] == [raw]

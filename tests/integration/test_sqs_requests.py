"""Requests to SQS for a task and its copy: retries, attributes and concurrency."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Barrier

import pytest
from kombu.exceptions import OperationalError

from cadasta.workertoolbox.routing import CopyFailed
from support import sqs_requests
from support.queue_contents import SQSContents
from support.routing_processes import routing_app

MONITOR = "platform.fifo"

#: Transport options that turn off the retries of botocore.
NO_BOTOCORE_RETRIES = {"client-config": {"retries": {"total_max_attempts": 1}}}


@pytest.mark.parametrize(
    "refusal",
    [
        (400, "ThrottlingException"),
        (400, "RequestThrottled"),
        (403, "RequestThrottled"),
        (429, "TooManyRequests"),
        (500, "InternalError"),
        (503, "ServiceUnavailable"),
    ],
)
def test_throttled_sqs_requests_are_retried(
    sqs_queues: SQSContents, refusal: sqs_requests.ErrorResponse
) -> None:
    with (
        refused_first(2, refusal) as refused,
        routing_app(sqs_queues, broker_transport_options=NO_BOTOCORE_RETRIES) as app,
    ):
        id = app.send_task("export.note", retry=False).id

    assert sorted(refused.values()) == [2, 2]
    assert sqs_queues.ids("export") == sqs_queues.ids(MONITOR) == [id]


def test_the_retries_of_botocore_are_added_to_ours(sqs_queues: SQSContents) -> None:
    with (
        refused_first(3, (400, "ThrottlingException")) as refused,
        routing_app(sqs_queues) as app,
    ):
        id = app.send_task("export.note").id

    assert sorted(refused.values()) == [3, 3]
    assert sqs_queues.ids("export") == sqs_queues.ids(MONITOR) == [id]


@contextmanager
def refused_first(
    times: int, refusal: sqs_requests.ErrorResponse
) -> Iterator[Counter[str]]:
    """Refuse the first messages for each queue; yield their number for each queue."""
    refused: Counter[str] = Counter()

    def refuse(request: sqs_requests.Request) -> sqs_requests.ErrorResponse | None:
        if request.operation != "SendMessage" or refused[request.queue] == times:
            return None
        refused[request.queue] += 1
        return refusal

    with sqs_requests.recorded(refuse):
        yield refused


@pytest.mark.parametrize("queue", ["export", MONITOR])
def test_permanently_throttled_sqs_requests_fail(
    sqs_queues: SQSContents, queue: str
) -> None:
    name = sqs_queues.prefix + queue

    def refuse(request: sqs_requests.Request) -> sqs_requests.ErrorResponse | None:
        send = request.operation == "SendMessage"
        return (400, "ThrottlingException") if send and request.queue == name else None

    with (
        sqs_requests.recorded(refuse) as requests,
        routing_app(
            sqs_queues,
            COPY_FAILURE="raise",
            broker_transport_options=NO_BOTOCORE_RETRIES,
        ) as app,
    ):
        with pytest.raises((CopyFailed, OperationalError), match="ThrottlingException"):
            app.send_task("export.note", retry=False)
    tries = [request for request in requests if request.queue == name]

    assert 1 < len(tries) < 10
    assert sqs_queues.ids(queue) == []


@pytest.mark.parametrize("refusals", [0, 1])
def test_message_attributes_are_sent_with_the_task_and_its_copy(
    sqs_queues: SQSContents, refusals: int
) -> None:
    attributes = {"Service": {"DataType": "String", "StringValue": "web"}}
    with (
        refused_first(refusals, (503, "ServiceUnavailable")),
        routing_app(sqs_queues, broker_transport_options=NO_BOTOCORE_RETRIES) as app,
    ):
        app.send_task("export.note", message_attributes=attributes)

    for queue in ("export", MONITOR):
        [message] = sqs_queues.messages(queue)
        assert message["message_attributes"] == attributes


def test_a_task_and_its_copy_are_sent_concurrently(sqs_queues: SQSContents) -> None:
    # Each request waits for the other one.
    barrier = Barrier(2, timeout=10)

    def meet(request: sqs_requests.Request) -> None:
        if request.operation == "SendMessage":
            barrier.wait()

    with sqs_requests.recorded(meet), routing_app(sqs_queues) as app:
        ids = sorted(app.send_task("export.note").id for _ in range(3))

    assert sqs_queues.ids("export") == sqs_queues.ids(MONITOR) == ids

"""The requests that a task and its copy are on SQS, and what AWS refuses of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Barrier

import pytest
from kombu.exceptions import OperationalError

from cadasta.workertoolbox.routing import CopyFailed
from support import sqs_requests
from support.queue_contents import SQSContents, open_queue_contents
from support.routing_processes import routing_app

MONITOR = "platform.fifo"

#: Have botocore try once, so that all further tries are the transport's.
TRIED_ONCE = {"client-config": {"retries": {"total_max_attempts": 1}}}


@pytest.fixture
def queues(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[SQSContents]:
    """SQS, of which the test has a prefix to itself."""
    with open_queue_contents("sqs", request, tmp_path) as queues:
        assert isinstance(queues, SQSContents)
        yield queues


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
    queues: SQSContents, refusal: sqs_requests.ErrorResponse
) -> None:
    with (
        refused_times(2, refusal) as refused,
        routing_app(queues, broker_transport_options=TRIED_ONCE) as app,
    ):
        id = app.send_task("export.note", retry=False).id

    assert sorted(refused.values()) == [2, 2]
    assert queues.ids("export") == queues.ids(MONITOR) == [id]


def test_the_retries_of_botocore_are_added_to_ours(queues: SQSContents) -> None:
    with (
        refused_times(3, (400, "ThrottlingException")) as refused,
        routing_app(queues) as app,
    ):
        id = app.send_task("export.note").id

    assert sorted(refused.values()) == [3, 3]
    assert queues.ids("export") == queues.ids(MONITOR) == [id]


@contextmanager
def refused_times(
    times: int, refusal: sqs_requests.ErrorResponse
) -> Iterator[Counter[str]]:
    """Refuse the first messages of each queue; yield how many it has been."""
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
    queues: SQSContents, queue: str
) -> None:
    name = queues.prefix + queue

    def refuse(request: sqs_requests.Request) -> sqs_requests.ErrorResponse | None:
        send = request.operation == "SendMessage"
        return (400, "ThrottlingException") if send and request.queue == name else None

    with (
        sqs_requests.recorded(refuse) as requests,
        routing_app(
            queues, COPY_FAILURE="raise", broker_transport_options=TRIED_ONCE
        ) as app,
    ):
        with pytest.raises((CopyFailed, OperationalError), match="ThrottlingException"):
            app.send_task("export.note", retry=False)
    tries = [request for request in requests if request.queue == name]

    assert 1 < len(tries) < 10
    assert queues.ids(queue) == []


@pytest.mark.parametrize("refusals", [0, 1])
def test_message_attributes_are_sent_with_the_task_and_its_copy(
    queues: SQSContents, refusals: int
) -> None:
    attributes = {"Service": {"DataType": "String", "StringValue": "web"}}
    with (
        refused_times(refusals, (503, "ServiceUnavailable")),
        routing_app(queues, broker_transport_options=TRIED_ONCE) as app,
    ):
        app.send_task("export.note", message_attributes=attributes)

    for queue in ("export", MONITOR):
        [message] = queues.messages(queue)
        assert message["message_attributes"] == attributes


def test_a_task_and_its_copy_are_sent_concurrently(queues: SQSContents) -> None:
    # Neither request is let go before the other is there.
    both = Barrier(2, timeout=10)

    def meet(request: sqs_requests.Request) -> None:
        if request.operation == "SendMessage":
            both.wait()

    with sqs_requests.recorded(meet), routing_app(queues) as app:
        ids = sorted(app.send_task("export.note").id for _ in range(3))

    assert queues.ids("export") == queues.ids(MONITOR) == ids

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
from support import aws
from support.queue_contents import SQSDepot, opened
from support.services import service

MONITOR = "platform.fifo"

#: Have botocore try once, so that all further tries are the transport's.
TRIED_ONCE = {"client-config": {"retries": {"total_max_attempts": 1}}}


@pytest.fixture
def depot(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[SQSDepot]:
    """SQS, of which the test has a prefix to itself."""
    with opened("sqs", request, tmp_path) as depot:
        assert isinstance(depot, SQSDepot)
        yield depot


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
def test_what_aws_refuses_for_now_is_sent_again(
    depot: SQSDepot, refusal: aws.Refusal
) -> None:
    with (
        refused_times(2, refusal) as refused,
        service(depot, broker_transport_options=TRIED_ONCE) as app,
    ):
        id = app.send_task("export.note", retry=False).id

    assert sorted(refused.values()) == [2, 2]
    assert depot.ids("export") == depot.ids(MONITOR) == [id]


def test_the_tries_of_botocore_come_on_top(depot: SQSDepot) -> None:
    with (
        refused_times(3, (400, "ThrottlingException")) as refused,
        service(depot) as app,
    ):
        id = app.send_task("export.note").id

    assert sorted(refused.values()) == [3, 3]
    assert depot.ids("export") == depot.ids(MONITOR) == [id]


@contextmanager
def refused_times(times: int, refusal: aws.Refusal) -> Iterator[Counter[str]]:
    """Refuse the first messages of each queue; yield how many it has been."""
    refused: Counter[str] = Counter()

    def refuse(request: aws.Request) -> aws.Refusal | None:
        if request.operation != "SendMessage" or refused[request.queue] == times:
            return None
        refused[request.queue] += 1
        return refusal

    with aws.seen(refuse):
        yield refused


@pytest.mark.parametrize("queue", ["export", MONITOR])
def test_what_aws_refuses_for_ever_is_given_up(depot: SQSDepot, queue: str) -> None:
    name = depot.prefix + queue

    def refuse(request: aws.Request) -> aws.Refusal | None:
        send = request.operation == "SendMessage"
        return (400, "ThrottlingException") if send and request.queue == name else None

    with (
        aws.seen(refuse) as requests,
        service(
            depot, COPY_FAILURE="raise", broker_transport_options=TRIED_ONCE
        ) as app,
    ):
        with pytest.raises((CopyFailed, OperationalError), match="ThrottlingException"):
            app.send_task("export.note", retry=False)
    tries = [request for request in requests if request.queue == name]

    assert 1 < len(tries) < 10
    assert depot.ids(queue) == []


@pytest.mark.parametrize("refusals", [0, 1])
def test_message_attributes_reach_every_copy(depot: SQSDepot, refusals: int) -> None:
    attributes = {"Service": {"DataType": "String", "StringValue": "web"}}
    with (
        refused_times(refusals, (503, "ServiceUnavailable")),
        service(depot, broker_transport_options=TRIED_ONCE) as app,
    ):
        app.send_task("export.note", message_attributes=attributes)

    for queue in ("export", MONITOR):
        [message] = depot.messages(queue)
        assert message["message_attributes"] == attributes


def test_a_task_and_its_copy_are_sent_at_the_same_time(depot: SQSDepot) -> None:
    # Neither request is let go before the other is there.
    both = Barrier(2, timeout=10)

    def meet(request: aws.Request) -> None:
        if request.operation == "SendMessage":
            both.wait()

    with aws.seen(meet), service(depot) as app:
        ids = sorted(app.send_task("export.note").id for _ in range(3))

    assert depot.ids("export") == depot.ids(MONITOR) == ids

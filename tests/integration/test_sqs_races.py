"""Messages and queues of SQS that others have changed in the meantime."""

from __future__ import annotations

from typing import Any

import pytest

from support import sqs_requests
from support.polling import wait_until
from support.queue_contents import SQSContents
from support.routing_processes import consume_ids, routing_app
from support.routing_service import consume


@pytest.mark.parametrize("end", ["requeue", "close"])
def test_a_message_that_another_consumer_has_acknowledged_does_not_return(
    sqs_queues: SQSContents, caplog: pytest.LogCaptureFixture, end: str
) -> None:
    options = {"visibility_timeout": 1}
    with routing_app(sqs_queues, broker_transport_options=options) as app:
        task_id = app.send_task("export.note").id
        with app.connection_for_read() as slow, app.connection_for_read() as fast:
            (held,) = consume(app, slow, "export", 1)
            (again,) = consume(app, fast, "export", 1, acknowledge=True)
            if end == "requeue":
                held.requeue()

    assert held.headers["id"] == again.headers["id"] == task_id
    assert sqs_queues.ids("export") == []
    assert [one for one in caplog.records if one.levelname == "ERROR"] == []


@pytest.mark.parametrize(
    "code",
    [
        "InvalidParameterValue",
        "AWS.SimpleQueueService.MessageNotInflight",
        "ReceiptHandleIsInvalid",
    ],
)
def test_a_message_that_is_visible_already_is_not_requeued(
    sqs_queues: SQSContents, code: str
) -> None:
    def refuse(request: sqs_requests.Request) -> tuple[int, str] | None:
        is_refused = request.operation == "ChangeMessageVisibility"
        return (400, code) if is_refused else None

    options = {"visibility_timeout": 1}
    with (
        sqs_requests.recorded(refuse),
        routing_app(sqs_queues, broker_transport_options=options) as app,
    ):
        task_id = app.send_task("export.note").id
        with app.connection_for_read() as connection:
            (held,) = consume(app, connection, "export", 1)
            held.requeue()

    wait_until(lambda: sqs_queues.ids("export") == [task_id])


def test_a_queue_that_another_service_creates_with_other_attributes_is_used(
    sqs_queues: SQSContents,
) -> None:
    name = f"{sqs_queues.prefix}export"

    def create_first(request: sqs_requests.Request) -> None:
        if request.operation == "CreateQueue" and request.body["QueueName"] == name:
            attributes = {"VisibilityTimeout": "77"}
            other.create_queue(QueueName=name, Attributes=attributes)

    other = sqs_queues.client()
    with sqs_requests.recorded(create_first), routing_app(sqs_queues) as app:
        task_id = app.send_task("export.note").id

    assert sqs_queues.ids("export") == [task_id]


@pytest.mark.parametrize("is_task", [True, False])
def test_a_backoff_policy_applies_only_to_tasks_that_are_still_held(
    sqs_queues: SQSContents, is_task: bool
) -> None:
    # The queue keeps this attribute, which predefined queues cannot set.
    options: dict[str, Any] = {"visibility_timeout": 1}
    with routing_app(sqs_queues, broker_transport_options=options) as app:
        task_id = app.send_task("export.note").id
    policy = {"backoff_policy": {1: 60, 2: 60}, "backoff_tasks": ["export.note"]}
    urls = {name: {"url": url, **policy} for name, url in sqs_queues.urls().items()}
    options = {"predefined_queues": urls, "queue_name_prefix": ""}
    if not is_task:
        consume_ids(app, "export", 1)
        sqs_queues.put("export", b"not a task")
    with (
        routing_app(sqs_queues, broker_transport_options=options) as app,
        app.connection_for_read() as slow,
        app.connection_for_read() as fast,
    ):
        (held,) = consume(app, slow, "export", 1)
        if is_task:
            (again,) = consume(app, fast, "export", 1, acknowledge=True)
            assert held.headers["id"] == again.headers["id"] == task_id
        held.reject()

    assert sqs_queues.is_empty("export")

"""Features of SQS: FIFO queues, queue attributes and credentials for each queue."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from support import sqs_requests
from support.moto_recorder import record_requests
from support.polling import wait_until
from support.proxy import proxied_url, run_proxy
from support.queue_contents import SQSContents
from support.routing_processes import (
    consume_ids,
    routing_app,
    run_command,
    run_worker,
    wait_for_executions,
)

MONITOR = "platform.fifo"

#: A work queue that is a FIFO queue.
FIFO = "export.fifo"

#: Attributes that allow a FIFO queue more than 300 calls a second.
HIGH_THROUGHPUT = {
    "DeduplicationScope": "messageGroup",
    "FifoThroughputLimit": "perMessageGroupId",
}


def message_groups(sqs_queues: SQSContents, queue: str) -> list[str]:
    """Return the sorted message groups of the messages in a queue."""
    messages = sqs_queues.messages(queue)
    return sorted(message["attributes"]["MessageGroupId"] for message in messages)


def test_the_tasks_of_one_workflow_are_one_message_group(
    sqs_queues: SQSContents,
) -> None:
    with routing_app(sqs_queues, queues=[FIFO]) as app:
        alone = app.send_task("export.note").id
        for _ in range(2):
            app.send_task("export.note", root_id="workflow")

    assert message_groups(sqs_queues, FIFO) == sorted([alone, "workflow", "workflow"])
    assert message_groups(sqs_queues, MONITOR) == sorted(
        [alone, "workflow", "workflow"]
    )


@pytest.mark.parametrize("root", ["a workflow of its own", "x" * 129, "é"])
def test_a_root_id_that_is_not_a_valid_group_id_is_converted(
    sqs_queues: SQSContents, root: str
) -> None:
    with routing_app(sqs_queues) as app:
        for _ in range(2):
            app.send_task("export.note", root_id=root)
        app.send_task("export.note", root_id=f"{root}!")
    found = message_groups(sqs_queues, MONITOR)

    assert len(found) == 3 and len(set(found)) == 2


def test_a_task_sent_twice_is_deduplicated(sqs_queues: SQSContents) -> None:
    with routing_app(sqs_queues, queues=[FIFO]) as app:
        for _ in range(2):
            app.send_task("export.note", task_id="1")
        app.send_task("export.note", task_id="2")

    assert sqs_queues.ids(FIFO) == sqs_queues.ids(MONITOR) == ["1", "2"]


def test_a_retry_is_not_deduplicated(sqs_queues: SQSContents, tmp_path: Path) -> None:
    with routing_app(sqs_queues, queues=[FIFO]) as app:
        id = app.send_task("export.again").id
        with run_worker(sqs_queues, tmp_path, "-P", "solo", queues=[FIFO]):
            wait_for_executions(tmp_path, [id, id])
    headers = [message["headers"] for message in sqs_queues.messages(MONITOR)]
    copies = [(header["id"], header["retries"]) for header in headers]

    assert sorted(copies) == [(id, 0), (id, 1)]
    assert sqs_queues.ids(FIFO) == []


def created_attributes(
    requests: list[sqs_requests.Request], sqs_queues: SQSContents
) -> dict[str, dict[str, str]]:
    """Return the attributes with which each queue was created, by its name."""
    return {
        request.body["QueueName"].removeprefix(sqs_queues.prefix): {
            name: value
            for name, value in request.body["Attributes"].items()
            if name != "VisibilityTimeout"
        }
        for request in requests
        if request.operation == "CreateQueue"
    }


def test_only_fifo_queues_are_created_for_high_throughput(
    sqs_queues: SQSContents,
) -> None:
    with (
        sqs_requests.recorded() as requests,
        routing_app(sqs_queues, queues=["export", "msg.fifo"]) as app,
    ):
        app.send_task("export.note")

    fifo = {"FifoQueue": "true", **HIGH_THROUGHPUT}
    assert created_attributes(requests, sqs_queues) == {
        "celery": {},
        "export": {},
        "msg.fifo": fifo,
        MONITOR: fifo,
    }


def test_the_users_own_queue_attributes_win_where_they_apply(
    sqs_queues: SQSContents,
) -> None:
    own = {"MessageRetentionPeriod": "1209600", "FifoThroughputLimit": "perQueue"}
    options = {"sqs-creation-attributes": own, "queue_tags": {"team": "export"}}
    with (
        sqs_requests.recorded() as requests,
        routing_app(sqs_queues, broker_transport_options=options) as app,
    ):
        app.send_task("export.note")
    tags = sqs_queues.client().list_queue_tags(QueueUrl=sqs_queues.url(MONITOR))["Tags"]

    made = created_attributes(requests, sqs_queues)
    assert made["export"] == {"MessageRetentionPeriod": "1209600"}
    assert made[MONITOR] == {"FifoQueue": "true", **HIGH_THROUGHPUT, **own}
    assert tags == {"team": "export"}


def test_one_setting_makes_the_monitor_queue_a_standard_queue(
    sqs_queues: SQSContents,
) -> None:
    with (
        sqs_requests.recorded() as requests,
        routing_app(sqs_queues, PLATFORM_QUEUE_NAME="platform") as app,
    ):
        id = app.send_task("export.note").id
        copied = consume_ids(app, "platform", 1)

    assert copied == sqs_queues.ids("export") == [id]
    assert created_attributes(requests, sqs_queues)["platform"] == {}
    assert sorted(sqs_queues.urls()) == ["celery", "export", "msg", "platform"]


def test_a_worker_and_inspect_leave_no_queue_behind(
    sqs_queues: SQSContents, tmp_path: Path
) -> None:
    with routing_app(sqs_queues) as app:
        id = app.send_task("export.note").id
        with run_worker(sqs_queues, tmp_path, "-P", "solo", "-E"):
            wait_for_executions(tmp_path, [id])
            with run_command(sqs_queues, tmp_path, "inspect", "ping") as inspect:
                code = inspect.wait()

    assert code != 0 and "SQS does not support remote control" in inspect.text
    assert sorted(sqs_queues.urls()) == ["celery", "export", "msg", MONITOR]


def test_the_events_command_leaves_no_queue_behind(
    sqs_queues: SQSContents, tmp_path: Path
) -> None:
    with run_command(sqs_queues, tmp_path, "events", "--dump") as events:
        wait_until(lambda: events.exit_code is not None or sqs_queues.urls())

    assert [name for name in sqs_queues.urls() if name.startswith("celeryev")] == []


def create_queues_with_keys(sqs_queues: SQSContents) -> dict[str, dict[str, str]]:
    """Create the queues; return `predefined_queues` with different keys for each."""
    names = ["celery", "export", "msg", MONITOR]
    for name in names:
        attributes = {"FifoQueue": "true"} if name.endswith(".fifo") else {}
        sqs_queues.client().create_queue(
            QueueName=sqs_queues.prefix + name, Attributes=attributes
        )
    return {
        name: {
            "url": sqs_queues.url(name),
            "access_key_id": f"key-of-{name}",
            "secret_access_key": "secret",
        }
        for name in names
    }


def test_each_predefined_queue_is_used_with_its_own_credentials(
    sqs_queues: SQSContents, tmp_path: Path
) -> None:
    options: dict[str, Any] = {
        "predefined_queues": create_queues_with_keys(sqs_queues),
        "queue_name_prefix": "",
    }
    with (
        record_requests(sqs_queues) as requests,
        routing_app(sqs_queues, broker_transport_options=options) as app,
    ):
        ids = sorted(app.send_task("export.note").id for _ in range(3))
        with run_worker(
            sqs_queues, tmp_path, "-P", "solo", broker_transport_options=options
        ):
            wait_for_executions(tmp_path, ids)
        copied = consume_ids(app, MONITOR, 3)

    assert copied == ids
    assert {one.key == f"key-of-{one.queue}" for one in requests} == {True}
    for operation in ("SendMessage", "DeleteMessage"):
        found = sorted(one.queue for one in requests if one.operation == operation)
        assert found == 3 * ["export"] + 3 * [MONITOR]


def test_the_first_publish_to_predefined_queues_makes_two_requests(
    sqs_queues: SQSContents,
) -> None:
    options: dict[str, Any] = {
        "predefined_queues": create_queues_with_keys(sqs_queues),
        "queue_name_prefix": "",
    }
    with (
        sqs_requests.recorded() as requests,
        routing_app(sqs_queues, broker_transport_options=options) as app,
    ):
        app.send_task("export.note")
    made = sorted(
        (one.operation, one.queue.removeprefix(sqs_queues.prefix)) for one in requests
    )

    assert made == [("SendMessage", "export"), ("SendMessage", MONITOR)]


def test_a_queue_that_may_not_be_created_stops_only_its_own_tasks(
    sqs_queues: SQSContents, caplog: pytest.LogCaptureFixture
) -> None:
    def deny_creation(request: sqs_requests.Request) -> tuple[int, str] | None:
        is_denied = request.body.get("QueueName") == f"{sqs_queues.prefix}msg"
        return (403, "AccessDenied") if is_denied else None

    with sqs_requests.recorded(deny_creation), routing_app(sqs_queues) as app:
        ids = sorted(app.send_task("export.note").id for _ in range(2))
        with pytest.raises(Exception, match="AccessDenied"):
            app.send_task("msg.note", retry=False)

    assert sqs_queues.ids("export") == ids
    assert [one.getMessage() for one in caplog.records if "'msg'" in one.getMessage()]


def test_a_worker_keeps_running_after_its_polls_are_cut_off(
    sqs_queues: SQSContents, tmp_path: Path
) -> None:
    url = urlsplit(sqs_queues.access.url)
    # 3 seconds, because the emulator may give a message to a poll that was cut off.
    options = {"visibility_timeout": 3}
    with ExitStack() as stack:
        proxy = stack.enter_context(run_proxy(str(url.hostname), int(url.port or 0)))
        app = stack.enter_context(
            routing_app(sqs_queues, broker_transport_options=options)
        )
        process = stack.enter_context(
            run_worker(
                sqs_queues,
                tmp_path,
                broker_url=proxied_url(sqs_queues.access.url, proxy),
                broker_transport_options=options,
            )
        )
        ids = [app.send_task("export.note").id]
        wait_for_executions(tmp_path, ids)
        proxy.cut()
        ids.append(app.send_task("export.note").id)
        wait_for_executions(tmp_path, ids)

        assert process.exit_code is None


#: Bytes after which a response is cut off: within its headers, or within its body.
CUT_AFTER_BYTES = {"headers": 40, "body": 310}


@pytest.mark.parametrize("part", CUT_AFTER_BYTES)
def test_a_truncated_response_neither_loses_nor_duplicates_a_task(
    sqs_queues: SQSContents, part: str
) -> None:
    url = urlsplit(sqs_queues.access.url)
    ids = []
    with run_proxy(str(url.hostname), int(url.port or 0)) as proxy:
        far = proxied_url(sqs_queues.access.url, proxy)
        # A connection lists the queues, gets each queue, and sends two messages.
        for number in range(1, 8):
            with routing_app(sqs_queues, broker_url=far) as app:
                proxy.cut_response(number, after_bytes=CUT_AFTER_BYTES[part])
                ids.append(app.send_task("export.note").id)

    assert sqs_queues.ids("export") == sqs_queues.ids(MONITOR) == sorted(ids)


def test_a_worker_takes_the_next_task_as_soon_as_it_has_room(
    sqs_queues: SQSContents, tmp_path: Path
) -> None:
    with routing_app(sqs_queues) as app:
        ids = [app.send_task("export.note").id for _ in range(4)]
    # kombu would look again after this time, in seconds.
    options = {"polling_interval": 600}
    words = ("-c", "1", "--prefetch-multiplier", "1")
    with run_worker(sqs_queues, tmp_path, *words, broker_transport_options=options):
        wait_for_executions(tmp_path, ids)

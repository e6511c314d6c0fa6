"""What SQS has and no other broker: FIFO queues, credentials for each queue."""

from __future__ import annotations

import base64
import http.client
import json
import re
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from support import sqs_requests
from support.polling import wait_until
from support.proxy import proxied_url, run_proxy
from support.queue_contents import SQSContents, open_queue_contents
from support.routing_processes import (
    consume_ids,
    routing_app,
    run_command,
    run_worker,
    wait_for_executions,
)

MONITOR = "platform.fifo"

#: A work queue that keeps its order.
FIFO = "export.fifo"

#: What makes a FIFO queue take more than 300 calls a second.
HIGH_THROUGHPUT = {
    "DeduplicationScope": "messageGroup",
    "FifoThroughputLimit": "perMessageGroupId",
}


@pytest.fixture
def queues(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[SQSContents]:
    """SQS, of which the test has a prefix to itself."""
    with open_queue_contents("sqs", request, tmp_path) as queues:
        assert isinstance(queues, SQSContents)
        yield queues


def groups(queues: SQSContents, queue: str) -> list[str]:
    """Return the message groups in a queue, once for each message, sorted."""
    messages = queues.messages(queue)
    return sorted(message["attributes"]["MessageGroupId"] for message in messages)


def test_the_tasks_of_one_workflow_are_one_message_group(queues: SQSContents) -> None:
    with routing_app(queues, queues=[FIFO]) as app:
        alone = app.send_task("export.note").id
        for _ in range(2):
            app.send_task("export.note", root_id="workflow")

    assert groups(queues, FIFO) == sorted([alone, "workflow", "workflow"])
    assert groups(queues, MONITOR) == sorted([alone, "workflow", "workflow"])


@pytest.mark.parametrize("root", ["a workflow of its own", "x" * 129, "é"])
def test_a_root_id_that_is_not_a_valid_group_id_is_converted(
    queues: SQSContents, root: str
) -> None:
    with routing_app(queues) as app:
        for _ in range(2):
            app.send_task("export.note", root_id=root)
        app.send_task("export.note", root_id=f"{root}!")
    found = groups(queues, MONITOR)

    assert len(found) == 3 and len(set(found)) == 2


def test_a_task_sent_twice_is_deduplicated(queues: SQSContents) -> None:
    with routing_app(queues, queues=[FIFO]) as app:
        for _ in range(2):
            app.send_task("export.note", task_id="1")
        app.send_task("export.note", task_id="2")

    assert queues.ids(FIFO) == queues.ids(MONITOR) == ["1", "2"]


def test_a_retry_is_not_deduplicated(queues: SQSContents, tmp_path: Path) -> None:
    with routing_app(queues, queues=[FIFO]) as app:
        id = app.send_task("export.again").id
        with run_worker(queues, tmp_path, "-P", "solo", queues=[FIFO]):
            wait_for_executions(tmp_path, [id, id])
    headers = [message["headers"] for message in queues.messages(MONITOR)]
    copies = [(header["id"], header["retries"]) for header in headers]

    assert sorted(copies) == [(id, 0), (id, 1)]
    assert queues.ids(FIFO) == []


def created(
    requests: list[sqs_requests.Request], queues: SQSContents
) -> dict[str, dict[str, str]]:
    """Return the attributes that each queue was created with, by its name."""
    return {
        request.body["QueueName"].removeprefix(queues.prefix): {
            name: value
            for name, value in request.body["Attributes"].items()
            if name != "VisibilityTimeout"
        }
        for request in requests
        if request.operation == "CreateQueue"
    }


def test_only_fifo_queues_are_created_for_high_throughput(
    queues: SQSContents,
) -> None:
    with (
        sqs_requests.recorded() as requests,
        routing_app(queues, queues=["export", "msg.fifo"]) as app,
    ):
        app.send_task("export.note")

    fifo = {"FifoQueue": "true", **HIGH_THROUGHPUT}
    assert created(requests, queues) == {
        "celery": {},
        "export": {},
        "msg.fifo": fifo,
        MONITOR: fifo,
    }


def test_the_users_own_queue_attributes_win_where_they_apply(
    queues: SQSContents,
) -> None:
    own = {"MessageRetentionPeriod": "1209600", "FifoThroughputLimit": "perQueue"}
    options = {"sqs-creation-attributes": own, "queue_tags": {"team": "export"}}
    with (
        sqs_requests.recorded() as requests,
        routing_app(queues, broker_transport_options=options) as app,
    ):
        app.send_task("export.note")
    tags = queues.client().list_queue_tags(QueueUrl=queues.url(MONITOR))["Tags"]

    made = created(requests, queues)
    assert made["export"] == {"MessageRetentionPeriod": "1209600"}
    assert made[MONITOR] == {"FifoQueue": "true", **HIGH_THROUGHPUT, **own}
    assert tags == {"team": "export"}


def test_one_setting_makes_the_monitor_queue_a_standard_queue(
    queues: SQSContents,
) -> None:
    with (
        sqs_requests.recorded() as requests,
        routing_app(queues, PLATFORM_QUEUE_NAME="platform") as app,
    ):
        id = app.send_task("export.note").id
        copied = consume_ids(app, "platform", 1)

    assert copied == queues.ids("export") == [id]
    assert created(requests, queues)["platform"] == {}
    assert sorted(queues.urls()) == ["celery", "export", "msg", "platform"]


def test_a_worker_and_inspect_leave_no_queue_behind(
    queues: SQSContents, tmp_path: Path
) -> None:
    with routing_app(queues) as app:
        id = app.send_task("export.note").id
        with run_worker(queues, tmp_path, "-P", "solo", "-E"):
            wait_for_executions(tmp_path, [id])
            with run_command(queues, tmp_path, "inspect", "ping") as inspect:
                code = inspect.wait()

    assert code != 0 and "SQS has no remote control" in inspect.text
    assert sorted(queues.urls()) == ["celery", "export", "msg", MONITOR]


def test_the_events_command_leaves_no_queue_behind(
    queues: SQSContents, tmp_path: Path
) -> None:
    with run_command(queues, tmp_path, "events", "--dump") as events:
        wait_until(lambda: events.exit_code is not None or queues.urls())

    assert [name for name in queues.urls() if name.startswith("celeryev")] == []


def with_keys(queues: SQSContents) -> dict[str, dict[str, str]]:
    """Make queues, and return each with the only credentials that are for it."""
    names = ["celery", "export", "msg", MONITOR]
    for name in names:
        attributes = {"FifoQueue": "true"} if name.endswith(".fifo") else {}
        queues.client().create_queue(
            QueueName=queues.prefix + name, Attributes=attributes
        )
    return {
        name: {
            "url": queues.url(name),
            "access_key_id": f"key-of-{name}",
            "secret_access_key": "secret",
        }
        for name in names
    }


@contextmanager
def recorded(queues: SQSContents) -> Iterator[list[tuple[str, str, str]]]:
    """Yield what the server gets from all processes, filled in at the end.

    It is the operation, the queue, and the access key of each request to a queue.
    """
    asked: list[tuple[str, str, str]] = []
    _post(queues, "reset-recording")
    _post(queues, "start-recording")
    yield asked
    _post(queues, "stop-recording")
    for line in _post(queues, "download-recording").splitlines():
        record = json.loads(line)
        url = json.loads(base64.b64decode(record["body"])).get("QueueUrl", "")
        signed = re.search("Credential=([^/]+)/", record["headers"]["Authorization"])
        if url and signed:
            operation = record["headers"]["X-Amz-Target"].rpartition(".")[2]
            name = url.rpartition("/")[2].removeprefix(queues.prefix)
            asked.append((operation, name, signed[1]))


def _post(queues: SQSContents, command: str) -> bytes:
    server = http.client.HTTPConnection(
        urlsplit(queues.access.url).netloc.split("@")[1]
    )
    method = "GET" if command.startswith("download") else "POST"
    server.request(method, f"/moto-api/recorder/{command}")
    answer = server.getresponse().read()
    server.close()
    return answer


def test_each_predefined_queue_is_used_with_its_own_credentials(
    queues: SQSContents, tmp_path: Path
) -> None:
    options: dict[str, Any] = {
        "predefined_queues": with_keys(queues),
        "queue_name_prefix": "",
    }
    with (
        recorded(queues) as asked,
        routing_app(queues, broker_transport_options=options) as app,
    ):
        ids = sorted(app.send_task("export.note").id for _ in range(3))
        with run_worker(
            queues, tmp_path, "-P", "solo", broker_transport_options=options
        ):
            wait_for_executions(tmp_path, ids)
        copied = consume_ids(app, MONITOR, 3)

    assert copied == ids
    assert {key == f"key-of-{name}" for _, name, key in asked} == {True}
    for operation in ("SendMessage", "DeleteMessage"):
        found = sorted(name for name_of, name, _ in asked if name_of == operation)
        assert found == 3 * ["export"] + 3 * [MONITOR]


def test_a_worker_keeps_running_after_its_polls_are_cut_off(
    queues: SQSContents, tmp_path: Path
) -> None:
    url = urlsplit(queues.access.url)
    # Seconds: the emulator may give a message to a poll that nobody waits for any more.
    options = {"visibility_timeout": 3}
    with ExitStack() as stack:
        proxy = stack.enter_context(run_proxy(str(url.hostname), int(url.port or 0)))
        app = stack.enter_context(routing_app(queues, broker_transport_options=options))
        process = stack.enter_context(
            run_worker(
                queues,
                tmp_path,
                broker_url=proxied_url(queues.access.url, proxy),
                broker_transport_options=options,
            )
        )
        ids = [app.send_task("export.note").id]
        wait_for_executions(tmp_path, ids)
        proxy.cut()
        ids.append(app.send_task("export.note").id)
        wait_for_executions(tmp_path, ids)

        assert process.exit_code is None


#: Bytes of an answer: some of its headers; these and a part of its body.
PARTS = {"headers": 40, "body": 310}


@pytest.mark.parametrize("part", PARTS)
def test_a_truncated_response_neither_loses_nor_duplicates_a_task(
    queues: SQSContents, part: str
) -> None:
    url = urlsplit(queues.access.url)
    ids = []
    with run_proxy(str(url.hostname), int(url.port or 0)) as proxy:
        far = proxied_url(queues.access.url, proxy)
        # Each connection asks for the queues, then for each queue, and sends two.
        for number in range(1, 8):
            with routing_app(queues, broker_url=far) as app:
                proxy.cut_response(number, after_bytes=PARTS[part])
                ids.append(app.send_task("export.note").id)

    assert queues.ids("export") == queues.ids(MONITOR) == sorted(ids)

"""Tasks that SQS refuses for good, and tasks that are sent while a process ends."""

from __future__ import annotations

import json
import logging
import sys
from base64 import b64decode
from collections.abc import Callable
from pathlib import Path
from threading import Event

import pytest
from botocore.exceptions import ClientError  # type: ignore[import-untyped]
from celery import Celery, states
from celery.exceptions import TaskRevokedError

from cadasta.workertoolbox.results import TaskStore
from support import sqs_requests
from support.brokers import Broker
from support.polling import wait_until
from support.processes import running
from support.queue_contents import SQSContents
from support.routing_processes import routing_app, routing_settings
from support.task_commands import run_monitor

MONITOR = "platform.fifo"


def denied(
    prefix: str, queue: str, code: str = "AccessDenied"
) -> Callable[[sqs_requests.Request], sqs_requests.ErrorResponse | None]:
    """Refuse messages for a queue, except that of the task `before`."""

    def answer(request: sqs_requests.Request) -> sqs_requests.ErrorResponse | None:
        is_denied = (
            request.operation == "SendMessage"
            and request.queue == prefix + queue
            and b'"before"' not in b64decode(request.body["MessageBody"])
        )
        return (403, code) if is_denied else None

    return answer


class RefusedAfterCopy:
    """Refuses a task for the queue `export` once its copy is on its way.

    Args:
        is_final: Whether the copies after that are refused too.
    """

    def __init__(self, prefix: str, *, is_final: bool) -> None:
        self._refuse_task = denied(prefix, "export")
        self._refuse_copy = denied(prefix, MONITOR)
        self._is_final = is_final
        self._copied = Event()

    def __call__(
        self, request: sqs_requests.Request
    ) -> sqs_requests.ErrorResponse | None:
        if self._refuse_task(request):
            assert self._copied.wait(timeout=30)
            return self._refuse_task(request)
        if not self._refuse_copy(request):
            return None
        was_copied = self._copied.is_set()
        self._copied.set()
        return self._refuse_copy(request) if was_copied and self._is_final else None


@pytest.mark.parametrize(
    "code", ["AccessDenied", "InvalidMessageContents", "KmsDisabled"]
)
def test_a_task_that_is_refused_for_good_is_tried_once_and_leaves_no_copy(
    sqs_queues: SQSContents, caplog: pytest.LogCaptureFixture, code: str
) -> None:
    with sqs_requests.recorded(denied(sqs_queues.prefix, "export", code)) as requests:
        with routing_app(sqs_queues, COPY_FAILURE="raise") as app:
            with pytest.raises(ClientError, match="queue '.*export'") as caught:
                app.send_task("export.note")
    tries = [one for one in requests if one.operation == "SendMessage"]

    assert caught.value.response["Error"]["Code"] == code
    assert len(tries) == 1
    assert sqs_queues.ids(MONITOR) == []
    assert [one for one in caplog.records if one.levelno >= logging.WARNING] == []


def test_a_task_that_is_too_large_leaves_no_copy(sqs_queues: SQSContents) -> None:
    with routing_app(sqs_queues) as app:
        id = app.send_task("export.note").id
        with pytest.raises(ClientError):
            app.send_task("export.note", ["x" * 1_000_000])

    assert sqs_queues.ids("export") == sqs_queues.ids(MONITOR) == [id]


def test_the_log_does_not_say_that_a_refused_task_was_sent(
    sqs_queues: SQSContents, caplog: pytest.LogCaptureFixture
) -> None:
    refuse_export = denied(sqs_queues.prefix, "export")
    refuse_monitor = denied(sqs_queues.prefix, MONITOR)
    with sqs_requests.recorded(
        lambda request: refuse_export(request) or refuse_monitor(request)
    ):
        with routing_app(sqs_queues) as app:
            app.send_task("export.note", task_id="before")
            with pytest.raises(ClientError):
                app.send_task("export.note", task_id="1")

    assert "was sent" not in caplog.text


@pytest.mark.parametrize("broker", ["sqs"], indirect=True)
def test_a_refused_task_whose_copy_was_sent_is_shown_as_revoked(
    app: Celery, broker: Broker, store: TaskStore, tmp_path: Path
) -> None:
    prefix = app.conf.broker_transport_options["queue_name_prefix"]
    first = app.signature("export.echo", [1], task_id="refused")
    second = app.signature("msg.echo", task_id="planned")
    with sqs_requests.recorded(RefusedAfterCopy(prefix, is_final=False)):
        app.send_task("export.echo", task_id="before")
        with pytest.raises(ClientError, match="AccessDenied"):
            (first | second).apply_async()
    with run_monitor(broker.environment, tmp_path):
        wait_until(
            lambda: (
                {task.id for task in store.list(status=states.REVOKED)}
                >= {"refused", "planned"}
            ),
            timeout_s=60,
        )
        wait_until(lambda: store.get("before") is not None, timeout_s=60)
    tasks = {task.id: task for task in store.list()}

    assert tasks.keys() == {"before", "refused", "planned"}
    assert tasks["before"].status == "QUEUED"
    assert "refused by the broker" in str(tasks["refused"].result)
    assert "AccessDenied" in str(tasks["refused"].result)
    assert tasks["planned"].result == (
        "not run: export.echo[refused] was refused by the broker"
    )
    reason = store.why("planned").because
    assert reason is not None and (reason.id, reason.cause) == ("refused", "refused")
    assert "was refused by the broker: " in reason.sentence
    with pytest.raises(TaskRevokedError, match="AccessDenied"):
        app.AsyncResult("refused").get(timeout=10)


def test_a_copy_that_cannot_be_taken_back_is_logged(
    sqs_queues: SQSContents, caplog: pytest.LogCaptureFixture
) -> None:
    answer = RefusedAfterCopy(sqs_queues.prefix, is_final=True)
    with sqs_requests.recorded(answer):
        with routing_app(sqs_queues) as app:
            app.send_task("export.note", task_id="before")
            with pytest.raises(ClientError):
                app.send_task("export.note", task_id="1")

    assert sqs_queues.ids("export") == ["before"]
    [warning] = [one.getMessage() for one in caplog.records if "1" in one.getMessage()]
    assert "was not sent, but its copy" in warning


#: Publish after the main thread has ended, or in a handler of `atexit`. boto3 cannot be
#: imported then, so the transport is loaded before.
LATE_PUBLISHERS = {
    "thread": """
def publish():
    threading.main_thread().join()
    app.send_task("export.note", task_id="late")
threading.Thread(target=publish).start()
""",
    "atexit": """
atexit.register(app.send_task, "export.note", task_id="late")
""",
    "thread after a task": """
app.send_task("export.note", task_id="early")
def publish():
    threading.main_thread().join()
    app.send_task("export.note", task_id="late")
threading.Thread(target=publish).start()
""",
    "atexit after a task": """
app.send_task("export.note", task_id="early")
atexit.register(app.send_task, "export.note", task_id="late")
""",
}


@pytest.mark.parametrize("publisher", LATE_PUBLISHERS)
def test_a_task_that_is_sent_while_a_process_ends_is_copied(
    sqs_queues: SQSContents, tmp_path: Path, publisher: str
) -> None:
    settings = json.dumps(routing_settings(sqs_queues))
    program = tmp_path / "publisher.py"
    program.write_text(
        "import atexit, json, threading\n"
        "from support import routing_service\n"
        f"app = routing_service.make_app(json.loads({settings!r}))\n"
        "app.connection_for_write().transport\n"
        f"{LATE_PUBLISHERS[publisher]}",
        "utf-8",
    )
    tests = str(Path(__file__).parents[1])
    with running(
        [sys.executable, program], folder=tmp_path, environment={"PYTHONPATH": tests}
    ) as process:
        code = process.wait()

    assert code == 0
    assert "Traceback" not in process.text
    assert "late" in sqs_queues.ids("export")
    assert sqs_queues.ids(MONITOR) == sqs_queues.ids("export")

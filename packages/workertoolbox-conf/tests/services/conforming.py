"""A service that keeps every promise, with settings that could disturb the tests."""

from __future__ import annotations

from typing import Any

from celery import Celery, shared_task

from cadasta.workertoolbox.conf import Config

app = Celery("conforming")
app.config_from_object(
    Config(
        ["export", "msg.fifo"],
        PLATFORM_QUEUE_NAME="copies",
        QUEUE_PREFIX="live",
        queue_type="quorum",
        broker_url="amqp://nobody:secret@127.0.0.1:1//",
        broker_use_ssl={"ca_certs": "missing.pem"},
        broker_transport="amqp",
        result_backend="workertoolbox+postgresql+psycopg2://nobody@127.0.0.1:1/none",
        task_acks_late=True,
        task_always_eager=True,
        task_ignore_result=True,
        task_routes={"other.*": {"queue": "export"}},
        worker_concurrency=3,
        worker_state_db="missing/folder/state",
    )
)


@app.task(name="export.double", ignore_result=False)
def double(number: int) -> int:
    """Return the double of a number."""
    return 2 * number


@app.task(name="export.forget")
def forget() -> None:
    """Return nothing; the result is ignored."""


@app.task(name="other.dangerous")
def dangerous() -> None:
    """End the process: the conformance tests must not run this task."""
    raise SystemExit("a task that must not run was run")


@shared_task(name="msg.send")
def send(text: str) -> Any:
    """Return a text."""
    return text

"""A service that keeps every promise, with settings that a test might trip over."""

from __future__ import annotations

from typing import Any

from celery import Celery, shared_task

from cadasta.workertoolbox.conf import Config

app = Celery("sound")
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
    """Return twice a number."""
    return 2 * number


@app.task(name="export.forget")
def forget() -> None:
    """Do something of which nobody asks the result."""


@app.task(name="other.dangerous")
def dangerous() -> None:
    """Do what no test may do."""
    raise SystemExit("a task of the service was run, and was not to be")


@shared_task(name="msg.send")
def send(text: str) -> Any:
    """Return a text."""
    return text

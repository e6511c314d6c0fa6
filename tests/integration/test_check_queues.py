"""`tasks check` when queues or the exchange are missing, unbound or of another type."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import redis as redis_client
from celery import Celery
from kombu import Exchange, Queue

from cadasta.workertoolbox.conf import Config, setup_app
from cadasta.workertoolbox.conf.testing import running_worker
from support.checkups import delete_sqs_queue, run_check, take_task_ids
from support.statements import execute


def unbind_in_redis(app: Celery, queue: str) -> None:
    """Remove the binding of a queue from Redis."""
    prefix = app.conf.broker_transport_options["global_keyprefix"]
    with redis_client.Redis.from_url(app.conf.broker_url) as client:
        for member in client.smembers(f"{prefix}_kombu.binding.task_exchange"):
            if member.endswith(queue.encode()):
                client.srem(f"{prefix}_kombu.binding.task_exchange", member)


def unbind_in_folder(app: Celery, queue: str) -> None:
    """Remove the binding of a queue from the folder of the file-system broker."""
    folder = Path(app.conf.broker_transport_options["control_folder"])
    file = folder / "task_exchange.exchange"
    kept = [one for one in json.loads(file.read_text("utf-8")) if one[2] != queue]
    file.write_text(json.dumps(kept), "utf-8")


def delete_rabbitmq_queue(app: Celery, queue: str) -> None:
    """Delete a queue on RabbitMQ."""
    with app.connection_for_write() as connection:
        channel: Any = connection.default_channel
        channel.queue_delete(queue)


@pytest.mark.parametrize(
    ("queue", "advice"), [("msg", "setup_app"), ("platform.fifo", "tasks monitor")]
)
@pytest.mark.parametrize(
    ("name", "fault"),
    [
        ("rabbitmq", delete_rabbitmq_queue),
        ("redis", unbind_in_redis),
        ("sqs", delete_sqs_queue),
        ("filesystem", unbind_in_folder),
    ],
)
def test_a_missing_or_unbound_queue_fails(
    declared_app: Callable[[str], Celery],
    name: str,
    fault: Callable[[Celery, str], None],
    queue: str,
    advice: str,
) -> None:
    app = declared_app(name)
    execute(
        app.conf.result_backend.removeprefix("workertoolbox+"),
        "INSERT INTO workertoolbox_task (id, name, queue, replaced, retries,"
        " ignore_result, scheduled_at, seen_at) VALUES ('1', 'export.echo', 'export',"
        " 0, 0, false, '2026-01-01 00:00:00', '2026-01-01 00:00:00')",
    )
    fault(app, queue)
    checked = run_check(app)

    assert checked.exit_code == 1
    assert list(checked.details("failed")) == [f"queue {queue}"]
    assert advice in checked.advice(f"queue {queue}")
    assert {"probe", "monitor"} <= set(checked.details("skipped"))


@pytest.mark.parametrize("name", ["rabbitmq", "sqs"])
def test_a_fleet_that_adopts_the_toolbox_needs_no_monitor_queue_before_its_monitor(
    declared_app: Callable[[str], Celery], name: str
) -> None:
    app = declared_app(name)
    if name == "sqs":
        delete_sqs_queue(app, "platform.fifo")
    else:
        delete_rabbitmq_queue(app, "platform.fifo")
        with app.connection_for_write() as connection:
            channel: Any = connection.default_channel
            channel.exchange_delete("task_exchange")
    checked = run_check(app)

    assert checked.exit_code == 0, checked.output
    assert "no monitor has run yet" in checked.details("warning")["exchange"]
    assert "tasks monitor" in checked.advice("exchange")
    assert checked.details("ok")["queue export"]


def test_work_queues_are_no_failure_before_the_first_task(
    declared_app: Callable[[str], Celery],
) -> None:
    app = declared_app("redis")
    for queue in ("celery", "export", "msg"):
        unbind_in_redis(app, queue)
    # The monitor is not running, but may have run.
    checked = run_check(app)

    assert "no task was published yet" in checked.details("warning")["exchange"]
    assert list(checked.details("failed")) == ["monitor"]


def test_an_unbound_monitor_queue_on_rabbitmq_fails_the_probe(
    declared_app: Callable[[str], Celery],
) -> None:
    app = declared_app("rabbitmq")
    with app.connection_for_write() as connection:
        channel: Any = connection.default_channel
        channel.queue_unbind("platform.fifo", "task_exchange", "#")
    checked = run_check(app)

    assert list(checked.details("failed")) == ["probe"]
    assert "the monitor gets no copies" in checked.details("failed")["probe"]


def test_an_unbound_work_queue_on_rabbitmq_is_bound_again(
    declared_app: Callable[[str], Celery],
) -> None:
    app = declared_app("rabbitmq")
    with app.connection_for_write() as connection:
        channel: Any = connection.default_channel
        channel.queue_unbind("export", "task_exchange", "export")
    checked = run_check(app)
    with app.connection_for_write() as connection:
        # Without the toolbox, which would bind the queue itself.
        channel = connection.default_channel
        message = channel.prepare_message(b"", headers={"id": "1"})
        channel.basic_publish(message, "task_exchange", "export")

    detail = checked.details("ok")["queue export"]
    assert detail.endswith("is bound to 'task_exchange' by 'export'")
    assert take_task_ids(app, "export") == ["1"]


def test_an_exchange_of_another_type_fails(
    declared_app: Callable[[str], Celery],
) -> None:
    app = declared_app("rabbitmq")
    with app.connection_for_write() as connection:
        channel: Any = connection.default_channel
        channel.exchange_delete("task_exchange")
        Exchange("task_exchange", "fanout", channel=channel).declare()
    checked = run_check(app)

    assert list(checked.details("failed")) == ["exchange"]
    assert "inequivalent arg 'type'" in checked.details("failed")["exchange"]


def test_a_queue_of_another_type_fails(declared_app: Callable[[str], Celery]) -> None:
    app = declared_app("rabbitmq")
    with app.connection_for_write() as connection:
        channel: Any = connection.default_channel
        channel.queue_delete("msg")
        arguments = {"x-queue-type": "quorum"}
        Queue("msg", channel=channel, queue_arguments=arguments).queue_declare()
    checked = run_check(app)

    assert list(checked.details("failed")) == ["queue msg"]
    assert "inequivalent arg 'x-queue-type'" in checked.details("failed")["queue msg"]


@pytest.mark.parametrize("name", ["rabbitmq", "redis", "filesystem"])
def test_messages_in_a_queue_that_no_worker_consumes_are_a_warning(
    declared_app: Callable[[str], Celery], name: str
) -> None:
    app = declared_app(name)
    for task in ("export.echo", "msg.send", "msg.send"):
        app.send_task(task, [1], ignore_result=True)
    with running_worker(app, queues=["export"]):
        checked = run_check(app)
    served = run_check(app)

    assert checked.details("warning")["consumers"] == (
        "messages wait in queues that no worker consumes: 'msg': 2"
    )
    assert "-Q msg" in checked.advice("consumers")
    assert "'msg': 2" in served.details("warning")["consumers"]


@pytest.mark.parametrize("name", ["rabbitmq", "redis", "filesystem"])
def test_messages_that_a_busy_worker_has_not_taken_yet_are_no_warning(
    declared_app: Callable[[str], Celery], name: str
) -> None:
    app = declared_app(name)
    with running_worker(app, queues=["export"], pool="threads", prefetch_multiplier=1):
        for _ in range(3):
            app.send_task("export.echo", [1], ignore_result=True)
        checked = run_check(app)

    assert "consumers" in checked.details("ok")


def test_nothing_is_said_about_consumers_where_they_are_not_known(
    declared_app: Callable[[str], Celery],
) -> None:
    app = declared_app("sqs")
    app.send_task("msg.send", ignore_result=True)

    assert "consumers" not in [one["check"] for one in run_check(app).findings]


@pytest.mark.parametrize("is_published_first", [False, True])
def test_queues_with_a_maximum_priority_are_as_configured(
    declared_app: Callable[[str], Celery],
    monkeypatch: pytest.MonkeyPatch,
    is_published_first: bool,
) -> None:
    declared_app("rabbitmq")
    monkeypatch.setenv("WORKERTOOLBOX_TASK_QUEUE_MAX_PRIORITY", "10")
    monkeypatch.setenv("WORKERTOOLBOX_QUEUES", "high,low")
    # A new app for each step, as in processes of their own.
    if is_published_first:
        make_priority_app().send_task("high.task", ignore_result=True)
    errors = setup_app(make_priority_app(), throw=False)
    checked = run_check(make_priority_app())

    assert errors == []
    assert {"queue high", "queue low", "queue platform.fifo"} <= set(
        checked.details("ok")
    )


def make_priority_app() -> Celery:
    app = Celery("priority", set_as_current=False)
    app.config_from_object(Config())
    return app


def test_a_visibility_timeout_shorter_than_configured_is_a_warning(
    declared_app: Callable[[str], Celery],
) -> None:
    app = declared_app("sqs")
    with app.connection_for_write() as connection:
        channel: Any = connection.default_channel
        channel.sqs().set_queue_attributes(
            QueueUrl=channel._resolve_queue_url("export"),
            Attributes={"VisibilityTimeout": "30"},
        )
    checked = run_check(app)
    found = [one for one in checked.findings if one["status"] == "warning"]

    assert [one["check"] for one in found] == ["queue export"]
    assert "VisibilityTimeout of 30 s" in found[0]["detail"]

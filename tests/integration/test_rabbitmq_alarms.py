"""RabbitMQ that blocks publishers because of an alarm, or that is frozen."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from celery import chain

from cadasta.workertoolbox.routing import PublishUnconfirmed
from servers import rabbitmq
from servers.rabbitmq import ALARMS, Node
from support.polling import wait_until
from support.processes import Process
from support.queue_contents import RabbitMQContents
from support.routing_processes import (
    executions,
    routing_app,
    run_worker,
    wait_for_executions,
)

MONITOR = "platform.fifo"

#: Options of a service that waits as short as possible.
IMPATIENT = {"confirm_timeout": 1}


@pytest.fixture(scope="module")
def broker(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[tuple[Node, Process]]:
    """A broker that no other test uses, and its process."""
    with (
        rabbitmq.node(tmp_path_factory.mktemp("rabbitmq")) as node,
        node.running() as process,
    ):
        yield node, process


@pytest.fixture
def node(broker: tuple[Node, Process]) -> Node:
    """The broker, whose alarms a test can raise."""
    return broker[0]


@pytest.fixture
def contents(node: Node) -> Iterator[RabbitMQContents]:
    """The queues in a virtual host of the broker."""
    with node.server.access() as access:
        yield RabbitMQContents(access)


@contextmanager
def frozen(process: Process) -> Iterator[None]:
    """Freeze a process for a block."""
    process.pause()
    try:
        yield
    finally:
        process.resume()


def wait_for_copies(contents: RabbitMQContents, ids: list[str]) -> None:
    """Wait until a work queue and the monitor queue hold these tasks, each once."""

    def check() -> bool:
        found = contents.ids("export"), contents.ids(MONITOR)
        assert found == (sorted(ids), sorted(ids))
        return True

    wait_until(check)


@pytest.mark.parametrize("kind", ALARMS)
@pytest.mark.parametrize("is_connected", [False, True])
def test_an_alarm_is_an_error_that_names_it_and_the_task_is_sent_once_at_most(
    node: Node, contents: RabbitMQContents, kind: str, is_connected: bool
) -> None:
    with routing_app(contents, broker_transport_options=IMPATIENT) as app:
        before = [app.send_task("export.note").id] if is_connected else []
        with node.alarm(kind), pytest.raises(PublishUnconfirmed) as caught:
            app.send_task("export.note", task_id="in alarm")
        after = app.send_task("export.note").id

    assert f"alarm (low on {kind})" in str(caught.value)
    assert caught.value.is_sent
    for queue in ("export", MONITOR):
        found = contents.ids(queue)
        assert found in (sorted([*before, after]), sorted([*before, "in alarm", after]))


def test_a_call_bounds_its_own_wait(node: Node, contents: RabbitMQContents) -> None:
    with routing_app(contents) as app, node.alarm("memory"):
        bounds: list[dict[str, Any]] = [{"timeout": 0.5}, {"confirm_timeout": 0.5}]
        for bound in bounds:
            with pytest.raises(PublishUnconfirmed, match=r"within 0\.5 s"):
                app.send_task("export.note", **bound)


def test_a_blocked_connection_sends_no_more_tasks(
    node: Node, contents: RabbitMQContents
) -> None:
    with (
        routing_app(contents, broker_transport_options=IMPATIENT) as app,
        app.connection_for_write() as connection,
    ):
        producer = app.amqp.Producer(connection)
        app.send_task("export.note", task_id="before", producer=producer)
        with node.alarm("memory"):
            # RabbitMQ blocks a connection when it publishes, for example an event.
            app.events.Dispatcher(connection).send("worker-heartbeat")
            wait_until(lambda: is_blocked(connection))
            with pytest.raises(PublishUnconfirmed, match="was not sent"):
                app.send_task("export.note", task_id="in alarm", producer=producer)

    wait_for_copies(contents, ["before"])


def is_blocked(connection: Any) -> bool:
    """Read from a connection, and return whether the broker has blocked it."""
    with suppress(TimeoutError):
        connection.drain_events(timeout=0.1)
    return connection.connection.alarm is not None


def test_a_task_that_fills_the_buffers_of_the_network_is_not_sent(
    node: Node, contents: RabbitMQContents
) -> None:
    with routing_app(contents) as app:
        app.send_task("export.note", task_id="before")
        with node.alarm("memory"):
            with pytest.raises(PublishUnconfirmed, match="low on memory.*was not sent"):
                app.send_task("export.note", ["x" * 30_000_000])

    wait_for_copies(contents, ["before"])


def test_a_task_is_sent_if_the_alarm_is_cleared_in_time(
    node: Node, contents: RabbitMQContents
) -> None:
    with routing_app(contents) as app, ThreadPoolExecutor(1) as threads:
        with node.alarm("memory"):
            sent = threads.submit(app.send_task, "export.note", task_id="1")
            with pytest.raises(TimeoutError):
                sent.result(1)
        sent.result(20)

    wait_for_copies(contents, ["1"])


def test_a_frozen_broker_is_an_error_and_gets_the_task_once(
    broker: tuple[Node, Process], contents: RabbitMQContents
) -> None:
    with routing_app(contents, broker_transport_options=IMPATIENT) as app:
        app.send_task("export.note", task_id="before")
        with frozen(broker[1]), pytest.raises(PublishUnconfirmed) as caught:
            app.send_task("export.note", task_id="frozen")
        app.send_task("export.note", task_id="after")

    assert "does not answer" in str(caught.value)
    wait_for_copies(contents, ["after", "before", "frozen"])


def test_a_worker_runs_a_backlog_during_an_alarm(
    node: Node, contents: RabbitMQContents, tmp_path: Path
) -> None:
    with routing_app(contents) as app:
        ids = [app.send_task("export.note").id for _ in range(200)]
    with (
        node.alarm("memory"),
        run_worker(contents, tmp_path, "-E", "-c", "2", worker_prefetch_multiplier=1),
    ):
        wait_for_executions(tmp_path, ids)


def test_remote_control_answers_and_events_are_read_while_tasks_are_confirmed(
    contents: RabbitMQContents, tmp_path: Path
) -> None:
    settings = {"task_send_sent_event": True}
    with (
        routing_app(contents, **settings) as app,
        run_worker(contents, tmp_path, "-E", "-c", "1") as worker,
    ):
        worker.wait_for("ready")
        ids = [app.send_task("export.note").id for _ in range(20)]
        wait_for_executions(tmp_path, ids)
        [answer] = app.control.ping(timeout=5, limit=1) or []

    assert list(answer.values()) == [{"ok": "pong"}]


def test_a_step_of_a_chain_waits_for_the_end_of_an_alarm(
    node: Node, contents: RabbitMQContents, tmp_path: Path
) -> None:
    with routing_app(contents, broker_transport_options=IMPATIENT) as app:
        step = app.tasks["export.note"]
        result = chain(step.si(), step.si())()
        ids = [result.parent.id, result.id]
        with ExitStack() as stack:
            with node.alarm("memory"):
                worker = stack.enter_context(
                    run_worker(
                        contents,
                        tmp_path,
                        *("-c", "1"),
                        broker_transport_options=IMPATIENT,
                    )
                )
                worker.wait_for("it has an alarm (low on memory)")
                ran = executions(tmp_path)
            wait_for_executions(tmp_path, ids)

    assert ran == ids[:1]


def test_a_worker_keeps_running_after_rabbitmq_takes_its_channel_and_its_queues(
    node: Node, contents: RabbitMQContents, tmp_path: Path
) -> None:
    with (
        routing_app(contents) as app,
        node.consumer_timeout(0.5),
        run_worker(contents, tmp_path, "-c", "1") as worker,
    ):
        app.send_task("export.note", countdown=3600)
        worker.wait_for("delivery acknowledgement on channel")
        task_id = app.send_task("export.note").id
        wait_for_executions(tmp_path, [task_id])
        node.stop_queues(contents.access.url)
        worker.wait_for("stopped by supervisor")
        worker.wait_for("Trying to re")

        assert worker.exit_code is None

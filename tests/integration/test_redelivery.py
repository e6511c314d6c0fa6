"""An unacknowledged message returns to its own queue and to no other."""

from __future__ import annotations

import json
import sys
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from celery import Celery
from kombu import Consumer, Exchange, Message, Queue

from cadasta.workertoolbox.routing import Routing
from support import plain_service
from support.polling import wait_until
from support.processes import Process, running
from support.proxy import proxied_url, run_proxy
from support.queue_contents import (
    BROKERS,
    QueueContents,
    RedisContents,
    SQLAlchemyContents,
    SQSContents,
)
from support.routing_processes import (
    consume_ids,
    executions,
    routing_app,
    run_copy_holder,
    run_worker,
    wait_for_executions,
)
from support.routing_service import consume

#: The models of kombu's SQLAlchemy transport cause this warning.
pytestmark = pytest.mark.filterwarnings("ignore:The ``noload`` loader")

MONITOR = "platform.fifo"

#: Transport options with which Redis and SQS redeliver messages within seconds.
FAST_REDELIVERY = {"visibility_timeout": 1, "unacked_restore_throttle": 1}


def fast_redelivery(
    queues: QueueContents, *, visibility_timeout_s: int = 1
) -> dict[str, object]:
    """Return transport options with which a broker redelivers within seconds."""
    if not isinstance(queues, RedisContents | SQSContents):
        return {}
    return {**FAST_REDELIVERY, "visibility_timeout": visibility_timeout_s}


@pytest.mark.parametrize("queues", BROKERS, indirect=True)
def test_an_unacknowledged_copy_never_returns_to_a_work_queue(
    queues: QueueContents, tmp_path: Path
) -> None:
    with routing_app(queues, broker_transport_options=fast_redelivery(queues)) as app:
        ids = sorted(app.send_task("export.note").id for _ in range(5))
        with app.connection_for_read() as connection:
            for message in consume(app, connection, MONITOR, 5):
                message.requeue()
            requeued = consume(app, connection, MONITOR, 5)
        # They were not acknowledged before the connection was closed.
        with run_copy_holder(queues, tmp_path, 5) as process:
            process.wait_for("holds 5")
            process.kill()
        # kombu's SQLAlchemy transport deletes messages when it reads them.
        is_lost = isinstance(queues, SQLAlchemyContents)
        returned = ids if is_lost else consume_ids(app, MONITOR, 5)

        assert queues.ids("export") == ids
        assert sorted(message.headers["id"] for message in requeued) == ids
        assert returned == ids
        assert queues.ids(MONITOR) == []


@pytest.mark.parametrize("restorer", ["toolbox", "plain Celery"])
@pytest.mark.parametrize("queues", ["redis"], indirect=True)
def test_a_worker_restores_the_copies_of_a_killed_monitor_to_its_queue(
    queues: RedisContents, tmp_path: Path, restorer: str
) -> None:
    with routing_app(queues) as app:
        ids = sorted(app.send_task("export.note").id for _ in range(5))
        with run_copy_holder(queues, tmp_path, 5) as process:
            process.wait_for("holds 5")
            process.kill()
        wait_until(lambda: count_overdue(queues) == 5)
        with (
            run_worker(
                queues,
                tmp_path,
                *("-Q", "msg", "-P", "solo"),
                broker_transport_options=FAST_REDELIVERY,
            )
            if restorer == "toolbox"
            else run_plain_worker(queues, tmp_path)
        ):
            wait_until(lambda: queues.ids(MONITOR) == ids)

    assert queues.ids("export") == ids
    assert queues.ids("msg") == []
    assert executions(tmp_path) == []
    assert count_overdue(queues) == 0


@pytest.mark.parametrize("queues", ["redis"], indirect=True)
def test_a_message_on_its_way_to_a_killed_consumer_is_redelivered(
    queues: RedisContents, tmp_path: Path
) -> None:
    with routing_app(queues, broker_transport_options=FAST_REDELIVERY) as app:
        with run_copy_holder(queues, tmp_path, 2) as process:
            wait_until(lambda: queues.blocked() == 1)
            process.pause()
            ids = sorted(app.send_task("export.note").id for _ in range(2))
            # The server has sent a message to the consumer, which is paused.
            wait_until(lambda: len(queues.ids(MONITOR)) == 1)
            process.kill()
        returned = consume_ids(app, MONITOR, 2)

    assert returned == queues.ids("export") == ids


@pytest.mark.parametrize("queues", ["redis"], indirect=True)
def test_a_repeated_fetch_takes_one_message(queues: RedisContents) -> None:
    # With `retry_on_timeout`, redis-py repeats a command that got no response.
    with routing_app(queues) as app, app.connection_for_read() as connection:
        ids = [app.send_task("export.note").id for _ in range(2)]
        channel: Any = connection.default_channel
        ask = channel._fetch_command([MONITOR], "tag")
        with queues.connected() as client:
            execute: Any = client.execute_command
            taken = [execute(*ask) for _ in range(2)]

    assert taken[0] == taken[1] and ids[0].encode() in taken[0]
    assert queues.ids(MONITOR) == ids[1:]


@pytest.mark.parametrize("queues", ["redis"], indirect=True)
def test_a_message_of_a_fanout_exchange_returns_to_the_queue_of_its_worker(
    queues: RedisContents,
) -> None:
    received: list[Message] = []
    news = Exchange("news", type="fanout")
    settings = Routing(
        [Queue("mail", news), Queue("push", news)],
        broker_url=queues.access.url,
        broker_transport_options=queues.access.transport_options,
    )
    app = Celery("news", set_as_current=False)
    app.config_from_object(settings)
    with app.connection_for_read() as connection:
        mail = app.amqp.queues["mail"]
        with Consumer(connection, [mail], on_message=received.append):
            with suppress(TimeoutError):
                connection.drain_events(timeout=0.1)  # It subscribes.
            app.send_task("a", queue="mail")
            connection.drain_events(timeout=10)
            [message] = received
            message.requeue()
    app.close()

    assert queues.ids("mail") == [message.headers["id"]]
    assert queues.ids("push") == []


@pytest.mark.parametrize("queues", ["redis"], indirect=True)
def test_a_message_that_is_not_json_is_not_held(queues: RedisContents) -> None:
    with routing_app(queues) as app, app.connection_for_read() as connection:
        channel: Any = connection.default_channel
        with queues.connected() as client:
            client.lpush(queues.key(MONITOR), "{half a mess")
            execute: Any = client.execute_command
            taken = execute(*channel._fetch_command([MONITOR], "tag"))

            assert b"{half a mess" in taken
            assert client.hlen(queues.key("unacked")) == 0


@pytest.mark.parametrize("queues", ["redis"], indirect=True)
def test_a_waiting_consumer_can_be_closed_without_the_server(
    queues: RedisContents,
) -> None:
    url = urlsplit(queues.access.url)
    with (
        run_proxy(str(url.hostname), int(url.port or 0)) as proxy,
        routing_app(queues, broker_transport_options=FAST_REDELIVERY) as app,
    ):
        id = app.send_task("export.note").id
        far = app.connection_for_read(proxied_url(queues.access.url, proxy))
        held: list[Message] = []
        for channel, name in ((far.default_channel, MONITOR), (far.channel(), "msg")):
            queue = app.amqp.queues[name]
            Consumer(channel, [queue], on_message=held.append).consume()
        while not held:
            far.drain_events(timeout=10)
        with pytest.raises(TimeoutError):
            far.drain_events(timeout=0.1)
        proxy.refuse_connections()
        proxy.cut()
        # A worker closes its connection in this way.
        far.collect()
        far.close()
        returned = consume_ids(app, MONITOR, 1)

    assert [message.headers["id"] for message in held] == returned == [id]


def count_overdue(queues: RedisContents, *, visibility_timeout_s: int = 1) -> int:
    """Return the number of messages held for longer than the visibility timeout."""
    with queues.connected() as client:
        seconds, _ = client.time()
        latest = seconds - visibility_timeout_s
        return int(client.zcount(queues.key("unacked_index"), "-inf", latest))


def run_plain_worker(
    queues: RedisContents, folder: Path
) -> AbstractContextManager[Process]:
    """Run a worker without the toolbox."""
    settings = {
        "broker_url": queues.access.url,
        "broker_transport_options": {
            **queues.access.transport_options,
            **FAST_REDELIVERY,
        },
    }
    return running(
        [sys.executable, plain_service.__file__],
        folder=folder,
        environment={plain_service.SETTINGS: json.dumps(settings)},
        name="unrouted",
    )


@pytest.mark.parametrize(
    "queues", [name for name in BROKERS if name != "sqlalchemy"], indirect=True
)
def test_a_task_whose_worker_is_killed_runs_again_without_a_second_copy(
    queues: QueueContents, tmp_path: Path
) -> None:
    # The first task must not be delivered again before the second one runs.
    options = fast_redelivery(queues, visibility_timeout_s=5)
    with routing_app(queues, broker_transport_options=options) as app:
        seen = app.send_task("export.hang").id
        with run_worker(
            queues, tmp_path, "-c", "2", broker_transport_options=options
        ) as w:
            wait_for_executions(tmp_path, [seen])
            acknowledged = consume_ids(app, MONITOR, 1)
            unseen = app.send_task("export.hang").id
            wait_for_executions(tmp_path, [seen, unseen])
            w.kill()
        if isinstance(queues, RedisContents):
            # A worker restores them when it starts, and then only every ten seconds.
            wait_until(lambda: count_overdue(queues, visibility_timeout_s=5) == 2)
        with run_worker(
            queues, tmp_path, "-c", "2", broker_transport_options=options
        ) as w:
            wait_for_executions(tmp_path, 2 * [seen, unseen])
            w.kill()

        assert acknowledged == [seen]
        assert queues.ids(MONITOR) == [unseen]
        assert queues.ids("msg") == queues.ids("celery") == []


@pytest.mark.parametrize(
    "queues", [name for name in BROKERS if name != "sqlalchemy"], indirect=True
)
def test_a_copy_outlives_the_acknowledgement_of_its_task(
    queues: QueueContents, tmp_path: Path
) -> None:
    options = fast_redelivery(queues)
    with routing_app(queues, broker_transport_options=options) as app:
        ids = sorted(app.send_task("export.note").id for _ in range(5))
        with run_copy_holder(queues, tmp_path, 5) as holder:
            holder.wait_for("holds 5")
            with run_worker(queues, tmp_path, "-P", "solo"):
                wait_for_executions(tmp_path, ids)
            holder.kill()
        returned = consume_ids(app, MONITOR, 5)

        assert returned == ids
        assert queues.ids("export") == []


@pytest.mark.parametrize("queues", BROKERS, indirect=True)
def test_a_stopping_worker_returns_its_tasks_without_a_second_copy(
    queues: QueueContents, tmp_path: Path
) -> None:
    with routing_app(queues) as app:
        ids = sorted(app.send_task("export.note", countdown=600).id for _ in range(5))
        with run_worker(queues, tmp_path, "-P", "solo") as process:
            for id in ids:
                process.wait_for(f"[{id}] received")
            process.stop()

    # They return one after the other.
    wait_until(lambda: len(queues.ids("export")) >= len(ids))
    assert queues.ids("export") == queues.ids(MONITOR) == ids
    assert executions(tmp_path) == []

"""The cost of publishing a task with its copy.

Plain Celery publishes to one queue through a direct exchange; the toolbox publishes to
the work queue and the monitor queue. RabbitMQ makes the copy itself; on SQS it is a
second request, and each request takes 20 ms here, about the time within a region of
AWS.

A second line for each broker separates the toolbox's share from the broker's: on
RabbitMQ plain Celery with two queues bound to a topic exchange, on SQS two plain tasks
published at the same time, the limit of an emulator in one process.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from celery import Celery
from kombu import Exchange, Queue

from cadasta.workertoolbox.routing import Routing
from measuring.figures import Row
from measuring.rounds import compare
from servers import rabbitmq, sqs
from servers.access import BrokerAccess
from servers.rabbitmq import ExternalRabbitMQ, RabbitMQ
from servers.sqs import SQS

#: Tasks in a round. Few on SQS, because the emulator becomes slower with each waiting
#: message.
RABBITMQ_TASKS = 1000
SQS_TASKS = 25

#: Seconds added to each request to SQS.
LATENCY_S = 0.02


def measure() -> Iterator[Row]:
    """Yield the ratios."""
    with tempfile.TemporaryDirectory() as folder:
        with rabbitmq.serve(Path(folder)) as server:
            for confirm in (True, False):
                yield from _compare_rabbitmq(server, confirm=confirm)
        with sqs.serve(Path(folder)) as server:
            yield from _compare_sqs(server)


def _compare_rabbitmq(
    server: RabbitMQ | ExternalRabbitMQ, *, confirm: bool
) -> Iterator[Row]:
    options = {"confirm_publish": confirm}
    for title, other in (
        ("plain Celery", _plain),
        ("plain Celery with two queues", _plain_twice),
    ):
        with server.access() as ours, server.access() as theirs:
            tracked, plain = _ours(ours, options), other(theirs, options)
            rounds = compare(
                ours=lambda count: _publish(tracked, count),  # noqa: B023
                theirs=lambda count: _publish(plain, count),  # noqa: B023
                items=RABBITMQ_TASKS,
            )
            where = f"RabbitMQ, confirms {'on' if confirm else 'off'}"
            yield rounds.row(where, title)
            for app in (tracked, plain):
                app.close()


def _compare_sqs(server: SQS) -> Iterator[Row]:
    apps: dict[str, Celery] = {}

    def renew() -> None:
        # The emulator searches all messages of a FIFO queue for each new one.
        for app in apps.values():
            app.close()
        with server.access() as ours, server.access() as theirs:
            apps.update(ours=_ours(ours, {}), theirs=_plain(theirs, {}))
        with ThreadPoolExecutor(2) as pool:
            # One connection for each of the two threads.
            list(pool.map(lambda app: _delay_requests(app, 2), apps.values()))

    def publish_two(count: int) -> None:
        with ThreadPoolExecutor(2) as pool:
            list(pool.map(lambda _: _publish(apps["theirs"], count), range(2)))

    for title, theirs in (
        ("plain Celery", lambda count: _publish(apps["theirs"], count)),
        ("two plain tasks at the same time", publish_two),
    ):
        rounds = compare(
            ours=lambda count: _publish(apps["ours"], count),
            theirs=theirs,
            items=SQS_TASKS,
            before=renew,
        )
        yield rounds.row(f"SQS, {LATENCY_S * 1000:.0f} ms a request", title)


def _ours(access: BrokerAccess, options: dict[str, Any]) -> Celery:
    app = Celery("ours", set_as_current=False)
    options = {**access.transport_options, **options}
    app.config_from_object(
        Routing(["export"], broker_url=access.url, broker_transport_options=options)
    )
    return app


def _plain(access: BrokerAccess, options: dict[str, Any]) -> Celery:
    app = Celery("plain", broker=access.url, set_as_current=False)
    app.conf.broker_transport_options = {**access.transport_options, **options}
    app.conf.task_default_queue = "export"
    return app


def _plain_twice(access: BrokerAccess, options: dict[str, Any]) -> Celery:
    app = _plain(access, options)
    exchange = Exchange("tasks", type="topic")
    app.conf.task_queues = [
        Queue("export", exchange, routing_key="export"),
        Queue("copies", exchange, routing_key="#"),
    ]
    with app.connection_for_write() as connection:
        for queue in app.amqp.queues.values():
            queue(connection.default_channel).declare()
    return app


def _publish(app: Celery, count: int) -> None:
    for number in range(count):
        app.send_task("export.nothing", [number])


def _delay_requests(app: Celery, connections: int) -> None:
    """Add the latency of a network to every request on pooled connections."""
    _publish(app, 1)
    producers = [app.producer_pool.acquire(block=True) for _ in range(connections)]
    for producer in producers:
        channel: Any = producer.channel
        channel.sqs().meta.events.register(
            "before-send.sqs.SendMessage", lambda **_: time.sleep(LATENCY_S)
        )
        producer.release()

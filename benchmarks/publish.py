"""What it costs to publish a task with its copy.

Plain Celery publishes to one queue by a direct exchange; ours to the work queue and
the monitor's. RabbitMQ makes the copy itself; on SQS it is a second request, and each
request is given 20 ms, about what one takes within a region of AWS.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import Any

from celery import Celery

from cadasta.workertoolbox.routing import Routing
from rounds import compare
from servers import rabbitmq, sqs
from servers.access import Access
from servers.sqs import SQS

#: Tasks in a round; with the rounds that count, 5,000 and more of each kind.
RABBITMQ_TASKS = 1000
SQS_TASKS = 100

#: Seconds added to each request to SQS.
LATENCY_S = 0.02


def main() -> None:
    """Print the ratios."""
    with tempfile.TemporaryDirectory() as folder:
        with rabbitmq.serve(Path(folder)) as server:
            for confirm in (True, False):
                with server.access() as ours, server.access() as theirs:
                    _compare_rabbitmq(ours, theirs, confirm=confirm)
        with sqs.serve(Path(folder)) as server:
            _compare_sqs(server)


def _compare_rabbitmq(ours: Access, theirs: Access, *, confirm: bool) -> None:
    options = {"confirm_publish": confirm}
    tracked, plain = _ours(ours, options), _plain(theirs, options)
    print(
        compare(
            f"RabbitMQ, confirms {'on' if confirm else 'off'}",
            ours=lambda count: _publish(tracked, count),
            theirs=lambda count: _publish(plain, count),
            items=RABBITMQ_TASKS,
        ),
        flush=True,
    )
    for app in (tracked, plain):
        app.close()


def _compare_sqs(server: SQS) -> None:
    apps: dict[str, Celery] = {}

    def renew() -> None:
        # The emulator searches all messages of a FIFO queue for each new one.
        for app in apps.values():
            app.close()
        with server.access() as ours, server.access() as theirs:
            apps.update(ours=_ours(ours, {}), theirs=_plain(theirs, {}))
        for app in apps.values():
            _delay_requests(app)

    print(
        compare(
            f"SQS, {LATENCY_S * 1000:.0f} ms a request",
            ours=lambda count: _publish(apps["ours"], count),
            theirs=lambda count: _publish(apps["theirs"], count),
            items=SQS_TASKS,
            before=renew,
        ),
        flush=True,
    )


def _ours(access: Access, options: dict[str, Any]) -> Celery:
    app = Celery("ours", set_as_current=False)
    options = {**access.transport_options, **options}
    app.config_from_object(
        Routing(["export"], broker_url=access.url, broker_transport_options=options)
    )
    return app


def _plain(access: Access, options: dict[str, Any]) -> Celery:
    app = Celery("plain", broker=access.url, set_as_current=False)
    app.conf.broker_transport_options = {**access.transport_options, **options}
    app.conf.task_default_queue = "export"
    return app


def _publish(app: Celery, count: int) -> None:
    for number in range(count):
        app.send_task("export.nothing", [number])


def _delay_requests(app: Celery) -> None:
    """Give every request of a pooled connection the latency of a network."""
    _publish(app, 1)
    with app.producer_pool.acquire() as producer:
        channel: Any = producer.channel
    channel.sqs().meta.events.register(
        "before-send.sqs.SendMessage", lambda **_: time.sleep(LATENCY_S)
    )


if __name__ == "__main__":
    main()

"""A worker of plain Celery, without the toolbox, on the same queues."""

from __future__ import annotations

import json
import os
import sys

from celery import Celery
from kombu import Exchange, Queue

#: The variable with Celery's settings, in JSON.
SETTINGS = "PLAIN_SERVICE_SETTINGS"


def main() -> None:
    """Consume the queue `msg`, which is bound to the exchange of the toolbox."""
    app = Celery("plain")
    app.conf.update(json.loads(os.environ[SETTINGS]))
    exchange = Exchange("task_exchange", type="topic")
    app.conf.task_queues = [
        Queue("export", exchange, routing_key="export"),
        Queue("msg", exchange, routing_key="msg"),
        Queue("platform.fifo", exchange, routing_key="#"),
    ]
    if any(name.startswith("cadasta") for name in sys.modules):
        raise SystemExit("the toolbox is imported")
    app.Worker(queues=["msg"], pool="solo").start()


if __name__ == "__main__":
    main()

"""A worker of the time before the toolbox: Celery alone, on the same queues."""

from __future__ import annotations

import json
import os
import sys

from celery import Celery
from kombu import Exchange, Queue

#: The environment's variable with Celery's settings, in JSON.
SETTINGS = "PLAIN_SERVICE_SETTINGS"


def main() -> None:
    """Consume `msg`, which is bound by hand to where the toolbox publishes."""
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

"""The work queue of a message, by the declared queues."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from celery import Celery
from kombu import Exchange, Queue, binding

from cadasta.workertoolbox.results._headers import QUEUE
from cadasta.workertoolbox.results._work_queues import WorkQueues

EVENTS, MAIL = Exchange("events", "topic"), Exchange("mail", "direct")
NEWS, TASKS = Exchange("news", "fanout"), Exchange("task_exchange", "topic")

QUEUES = [
    Queue("platform.fifo", TASKS, "#", bindings=[binding(EVENTS, "#")]),
    Queue("billing", EVENTS, "billing.#"),
    Queue("paid", bindings=[binding(EVENTS, "*.paid"), binding(MAIL, "receipt")]),
    Queue("mails", MAIL, "out"),
    Queue("digest", NEWS),
    Queue("export", TASKS, "export"),
]


@pytest.fixture
def app() -> Iterator[Celery]:
    app = Celery("service", set_as_current=False)
    app.conf.task_queues = QUEUES
    app.conf.PLATFORM_QUEUE_NAME = "platform.fifo"
    yield app
    app.close()


@pytest.mark.parametrize(
    ("exchange", "key", "queue"),
    [
        ("events", "billing.invoices.created", "billing"),
        ("events", "billing", "billing"),
        ("events", "shop.paid", "paid"),
        ("events", "billing.paid", "billing"),
        ("events", "shop.order.paid", "shop.order.paid"),
        ("mail", "out", "mails"),
        ("mail", "receipt", "paid"),
        ("mail", "other", "other"),
        ("news", "anything", "digest"),
        ("elsewhere", "out", "out"),
        ("task_exchange", "export", "export"),
        ("events", "export", "export"),
        ("", "mails", "mails"),
    ],
)
def test_the_queue_is_the_first_that_is_bound_to_exchange_and_key(
    app: Celery, exchange: str, key: str, queue: str
) -> None:
    info = {"exchange": exchange, "routing_key": key}

    assert WorkQueues(app).find(info, {}) == queue


def test_a_header_names_the_queue(app: Celery) -> None:
    info = {"exchange": "events", "routing_key": "billing.paid"}

    assert WorkQueues(app).find(info, {QUEUE: "paid"}) == "paid"

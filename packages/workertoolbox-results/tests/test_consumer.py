"""The monitor in the process of the test, with kombu's in-memory broker."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pytest
from celery import Celery
from kombu import Exchange, Queue
from polling import eventually
from sqlalchemy import select

from cadasta.workertoolbox.results import PROBE, Monitor, TaskStore
from cadasta.workertoolbox.results._database.tables import quarantine


@pytest.fixture
def queue(app: Celery) -> Iterator[Queue]:
    """The app's monitor queue, empty."""
    queue = Queue("platform.fifo", Exchange("platform", type="direct"), "platform.fifo")
    app.conf.task_queues = [queue]
    app.conf.PLATFORM_QUEUE_NAME = queue.name
    with app.connection_for_write() as connection:
        bound = queue(connection.default_channel)
        bound.declare()
        bound.purge()
    yield queue


def publish(app: Celery, queue: Queue, body: str, **headers: Any) -> None:
    with app.producer_or_acquire() as producer:
        producer.publish(
            body,
            exchange=queue.exchange,
            routing_key=queue.routing_key,
            content_type="application/json",
            content_encoding="utf-8",
            headers={"task": "export.project", **headers},
        )


def publish_probe(app: Celery, queue: Queue, **headers: Any) -> None:
    with app.producer_or_acquire() as producer:
        producer.publish(
            "null",
            exchange=queue.exchange,
            routing_key=queue.routing_key,
            content_type="application/json",
            content_encoding="utf-8",
            headers=headers,
        )


@contextmanager
def running_monitor(app: Celery) -> Iterator[None]:
    """Run a monitor for the duration of the block; fail if it ends earlier."""
    monitor = Monitor(app, batch_wait_s=0.01)
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(monitor.run)
        try:
            yield
        finally:
            monitor.stop()
        running.result()


def test_a_message_that_cannot_be_decompressed_does_not_end_the_monitor(
    app: Celery, queue: Queue, store: TaskStore
) -> None:
    publish(app, queue, "[[], {}, {}]", id="1", compression="application/x-gzip")
    publish(app, queue, "[[], {}, {}]", id="2")
    with running_monitor(app):
        found = eventually(lambda: [task.id for task in store.list()], ["2"])
    with store.engine.connect() as connection:
        [row] = connection.execute(select(quarantine))

    assert found == ["2"]
    assert row.reason.startswith("the body cannot be decompressed")
    assert row.headers["id"] == "1"


def test_arguments_over_the_limit_of_the_app_are_truncated(
    app: Celery, queue: Queue, store: TaskStore
) -> None:
    app.conf.MAX_ARGUMENT_BYTES = 1500
    data = "x" * 1998
    publish(app, queue, json.dumps([["a"], {"data": data}, {}]), id="1")
    with running_monitor(app):
        eventually(lambda: store.find("1") is not None, True)

    assert store.get("1").kwargs == {"data": "<truncated: 2000 bytes>"}


def test_a_probe_is_acknowledged_and_not_stored(
    app: Celery, queue: Queue, store: TaskStore
) -> None:
    publish_probe(app, queue, **{PROBE: "1"})
    publish_probe(app, queue, sender="another")
    publish(app, queue, "[[], {}, {}]", id="2")
    with running_monitor(app):
        eventually(lambda: [task.id for task in store.list()], ["2"])
    with store.engine.connect() as connection:
        rows = list(connection.execute(select(quarantine)))
    with app.connection_for_read() as connection:
        left = queue(connection.default_channel).get()

    assert [row.headers.get("sender") for row in rows] == ["another"]
    assert left is None


def test_a_task_with_the_header_of_a_probe_is_stored(
    app: Celery, queue: Queue, store: TaskStore
) -> None:
    publish(app, queue, "[[], {}, {}]", id="1", **{PROBE: "1"})
    with running_monitor(app):
        found = eventually(lambda: [task.id for task in store.list()], ["1"])

    assert found == ["1"]

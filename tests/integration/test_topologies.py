"""Queues of users: every task is copied once, and run as often as in Celery.

One worker consumes every queue of a topology but that of dead letters. The test
publishes to all of them and then compares what was copied and run with what it expects.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from typing import Any

import pytest
from celery import chain, chord

from support.brokers import SERVER_FIXTURES
from support.conformance_harness import ConformanceHarness, open_conformance_harness
from support.delivery_counts import workflow_ids
from support.polling import wait_until

BROKERS = (*SERVER_FIXTURES, "filesystem")

#: The consumed queues of each topology.
CONSUMED = {
    "direct": ("celery", "export", "msg", "late"),
    "mixed": ("celery", "export", "msg", "urgent", "strict"),
}


@pytest.fixture(params=product(BROKERS, CONSUMED), ids="-".join)
def service(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ConformanceHarness]:
    """A service on a broker with a topology, without a worker."""
    broker, topology = request.param
    folder = tmp_path_factory.mktemp(broker)
    with open_conformance_harness(
        request, folder, broker, topology=topology
    ) as service:
        service.work_queues = CONSUMED[topology]
        yield service


def test_tasks_of_users_queues_are_copied_once_and_run_as_in_celery(
    service: ConformanceHarness, request: pytest.FixtureRequest
) -> None:
    app, echo = service.app, service.app.tasks["export.echo"]
    is_mixed = "mixed" in request.node.callspec.id
    # Before the worker starts, so that they wait in their queues.
    for name in service.work_queues:
        service.expect(echo.apply_async((name,), queue=name).id)
    service.expect(echo.apply_async((0,), countdown=2).id, scheduled=True)
    if is_mixed:
        check_priorities(service)
    queues = (*service.work_queues, *(("mail", "push") if is_mixed else ()))
    options = ("-P", "threads", "-c", "2", "-l", "INFO", "-Q", ",".join(queues))
    with service.running("worker", *options, ready="ready.") as worker:
        service.expect(*workflow_ids(chain(echo.s(1), echo.s().set(queue="msg"))()))
        header = [echo.s(1), echo.s(2).set(queue="msg")]
        total = chord(header, app.tasks["msg.total"].s())()
        service.expect(*workflow_ids(total))
        id = app.tasks["export.retry"].delay([0]).id
        for retries in range(2):
            service.expect(id, retries=retries)
        if is_mixed:
            publish_to_exchanges(service)
        service.settle()
        if is_mixed and service.broker.name in ("rabbitmq", "quorum"):
            check_dead_letters(service)
        worker.kill()

    assert total.get(timeout=60) == 3


def check_priorities(service: ConformanceHarness) -> None:
    """Check that RabbitMQ delivers by priority, and that a copy keeps it."""
    echo = service.app.tasks["export.echo"]
    ids = [echo.apply_async(("p",), queue="urgent", priority=n).id for n in (1, 7)]
    service.expect(*ids)
    if service.broker.name not in ("rabbitmq", "quorum"):
        return
    with service.app.connection_for_read() as connection:
        channel = connection.default_channel
        first: Any = service.app.amqp.queues["urgent"](channel).get()
        monitor = service.app.amqp.queues["platform.fifo"](channel)
        priorities: dict[str, Any] = {
            copy.headers["id"]: copy.properties.get("priority")
            for copy in iter(monitor.get, None)
        }

        assert first.headers["id"] == ids[1]
        assert [priorities[id] for id in ids] == [1, 7]


def publish_to_exchanges(service: ConformanceHarness) -> None:
    """Publish tasks that an exchange sends to several queues."""
    echo = service.app.tasks["export.echo"]
    both: dict[str, Any] = {"exchange": "work", "routing_key": "export.old.msg"}
    service.expect(echo.apply_async(("topic",), **both).id, runs=2)
    # kombu's transport for Redis delivers to one queue of each connection.
    runs = 1 if service.broker.name == "redis" else 2
    service.expect(echo.apply_async(("fanout",), exchange="news").id, runs=runs)
    # As a rerun is published.
    by_name: dict[str, Any] = {"queue": "mail", "exchange": "", "routing_key": "mail"}
    service.expect(echo.apply_async(("name",), **by_name).id)


def check_dead_letters(service: ConformanceHarness) -> None:
    """Check that a dead letter is not stored as a new task."""
    id = service.app.tasks["export.reject"].apply_async(queue="strict").id
    service.expect(id)
    with service.app.connection_for_read() as connection:
        dead = service.app.amqp.queues["dead"](connection.default_channel)
        letter: Any = wait_until(dead.get)

    assert letter.headers["id"] == id and letter.headers["x-death"]
    service.settle()

"""A monitor process on each broker: stops, kills, outages and refused messages."""

from __future__ import annotations

import json
import pickle
import resource
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from celery import Celery, chain, group
from sqlalchemy import create_engine, select, text

from cadasta.workertoolbox.results import TaskStore
from cadasta.workertoolbox.results._database.tables import quarantine
from servers.access import BrokerAccess
from servers.postgresql import refuse_connections
from support.brokers import Broker
from support.polling import wait_until
from support.processes import Process
from support.proxy import run_proxy
from support.queue_contents import RedisContents
from support.result_backends import sqlalchemy_url
from support.task_commands import run_monitor

#: The variable with the transport options.
TRANSPORT_OPTIONS = "WORKERTOOLBOX_BROKER_TRANSPORT_OPTIONS"


def take_all(app: Celery, queue: str) -> int:
    """Take all messages out of a queue, and return their number."""
    with app.connection_for_read() as connection:
        bound = app.amqp.queues[queue](connection.default_channel)
        messages = list(iter(bound.get, None))
        for message in messages:
            message.ack()
    return len(messages)


def wait_for_other_tasks(store: TaskStore, ids: set[str]) -> None:
    """Wait until another task than these is stored."""
    wait_until(lambda: {task.id for task in store.list(limit=200)} - ids)


def test_a_stopped_monitor_loses_and_duplicates_nothing(
    app: Celery, broker: Broker, store: TaskStore, tmp_path: Path
) -> None:
    ids = {app.send_task("export.echo", [n]).id for n in range(20)}
    exit_codes = []
    for number in (signal.SIGTERM, signal.SIGINT):
        stored = {task.id for task in store.list(limit=200)}
        with run_monitor(broker.environment, tmp_path) as process:
            wait_for_other_tasks(store, stored)
            ids |= {app.send_task("export.echo", [n]).id for n in range(20)}
            exit_codes.append(process.stop(number))
        ids |= {app.send_task("export.echo", [n]).id for n in range(20)}
    with run_monitor(broker.environment, tmp_path):
        wait_until(lambda: len(store.list(limit=200)) >= len(ids))

    assert exit_codes == [0, 0]
    assert {task.id for task in store.list(limit=200)} == ids
    assert all(task.status == "QUEUED" for task in store.list(limit=200))
    assert take_all(app, "platform.fifo") == 0
    assert take_all(app, "export") == len(ids)


def publish_raw(app: Celery, body: bytes, **properties: Any) -> None:
    """Publish a message with any body and properties to a work queue."""
    with app.producer_pool.acquire() as producer:
        producer.publish(
            body,
            exchange="task_exchange",
            routing_key="export",
            declare=list(app.amqp.queues.values()),
            **properties,
        )


def test_unreadable_messages_are_quarantined_and_workflows_are_stored(
    app: Celery, broker: Broker, store: TaskStore, tmp_path: Path
) -> None:
    pickled = pickle.dumps(([], {}, {}))
    publish_raw(
        app,
        pickled,
        content_type="application/x-python-serialize",
        content_encoding="binary",
        headers={"id": "pickled", "task": "export.echo"},
    )
    publish_raw(app, b"{", content_type="application/json", content_encoding="utf-8")
    echo = app.signature("export.echo", [1])
    last = chain(echo, group(echo.clone(), echo.clone()), echo.clone()).apply_async()
    with run_monitor(broker.environment, tmp_path):
        wait_until(store.list)
        found = wait_until(lambda: quarantined_rows(app))

    first, *planned = store.list()
    assert (first.status, len(planned)) == ("QUEUED", 3)
    assert {step.status for step in planned} == {"PLANNED"}
    assert last.id in {step.id for step in planned}
    assert {(row.reason.split()[1], bytes(row.body)) for row in found} == {
        ("content", pickled),
        ("body", b"{"),
    }
    assert take_all(app, "platform.fifo") == 0


def quarantined_rows(app: Celery) -> list[Any]:
    """Return the two rows of the quarantine table.

    Raises:
        AssertionError: There are not two.
    """
    engine = create_engine(sqlalchemy_url(app.conf.result_backend))
    with engine.connect() as connection:
        rows = list(connection.execute(select(quarantine)))
    engine.dispose()
    assert len(rows) == 2, rows
    return rows


@pytest.mark.parametrize("broker", ["rabbitmq", "redis", "sqs"], indirect=True)
def test_messages_stay_in_the_queue_during_a_database_outage(
    app: Celery, broker: Broker, store: TaskStore, tmp_path: Path
) -> None:
    with run_monitor(broker.environment, tmp_path) as process:
        first = app.send_task("export.echo", [1]).id
        wait_until(lambda: store.find(first))
        store.close()
        with refuse_connections(store.engine.url):
            second = app.send_task("export.echo", [2]).id
            process.wait_for("database unavailable")
        wait_until(lambda: store.find(second))
        exit_code = process.stop()

    assert exit_code == 0
    assert {task.id for task in store.list()} == {first, second}
    assert take_all(app, "platform.fifo") == 0
    assert take_all(app, "export") == 2


@pytest.mark.parametrize("broker", ["rabbitmq", "redis"], indirect=True)
def test_a_monitor_stopped_during_a_database_outage_returns_its_messages(
    app: Celery, broker: Broker, store: TaskStore, tmp_path: Path
) -> None:
    with run_monitor(broker.environment, tmp_path) as process:
        process.wait_for("copying tasks")
        store.close()
        with refuse_connections(store.engine.url):
            ids = {app.send_task("export.echo", [n]).id for n in range(5)}
            process.wait_for("database unavailable")
            exit_code = process.stop()

    assert exit_code == 0
    assert take_all(app, "export") == 5
    with run_monitor(broker.environment, tmp_path):
        wait_until(lambda: {task.id for task in store.list()} == ids)
    assert take_all(app, "export") == 0


@pytest.mark.parametrize("broker", ["rabbitmq"], indirect=True)
def test_a_task_that_the_database_refuses_does_not_stop_others(
    app: Celery, broker: Broker, store: TaskStore, tmp_path: Path
) -> None:
    with store.engine.begin() as connection:
        connection.execute(
            text("ALTER TABLE workertoolbox_task ADD CHECK (name <> 'export.refused')")
        )
    ids = {app.send_task("export.echo", [n]).id for n in range(3)}
    app.send_task("export.refused")
    ids |= {app.send_task("export.echo", [n]).id for n in range(3)}
    with run_monitor(broker.environment, tmp_path):
        wait_until(lambda: {task.id for task in store.list()} == ids)
        with store.engine.connect() as connection:
            [row] = connection.execute(select(quarantine))

    assert "the database refuses the message" in row.reason
    assert row.headers["task"] == "export.refused"
    assert take_all(app, "platform.fifo") == 0


#: Terminates the connection of the first insert into the quarantine table. A sequence
#: counts the inserts, because it is not rolled back.
TERMINATE_FIRST_INSERT = """
CREATE SEQUENCE additions;
CREATE FUNCTION cut_once() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF nextval('additions') = 1 THEN
        PERFORM pg_terminate_backend(pg_backend_pid());
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER cut_once BEFORE INSERT ON workertoolbox_quarantine
    FOR EACH ROW EXECUTE FUNCTION cut_once();
ALTER TABLE workertoolbox_task ADD CHECK (name <> 'export.refused');
"""


@pytest.mark.parametrize("broker", ["rabbitmq"], indirect=True)
def test_a_refused_task_is_quarantined_after_a_database_outage(
    app: Celery, broker: Broker, store: TaskStore, tmp_path: Path
) -> None:
    with store.engine.begin() as connection:
        connection.execute(text(TERMINATE_FIRST_INSERT))
    app.send_task("export.refused")
    with run_monitor(broker.environment, tmp_path) as process:
        process.wait_for("database unavailable")
        with store.engine.connect() as connection:
            query = select(quarantine.c.reason)
            wait_until(lambda: connection.execute(query).all())
        exit_code = process.stop()

    assert exit_code == 0
    assert take_all(app, "platform.fifo") == 0


@pytest.mark.parametrize("broker", ["rabbitmq", "redis", "sqs"], indirect=True)
def test_a_monitor_reconnects_after_a_broker_outage(
    app: Celery, broker: Broker, store: TaskStore, tmp_path: Path
) -> None:
    url = urlsplit(broker.environment["WORKERTOOLBOX_BROKER_URL"])
    assert url.hostname and url.port
    with run_proxy(url.hostname, url.port) as proxy:
        netloc = url.netloc.replace(f":{url.port}", f":{proxy.port}")
        far = url._replace(netloc=netloc).geturl()
        environment = {**broker.environment, "WORKERTOOLBOX_BROKER_URL": far}
        with run_monitor(environment, tmp_path) as process:
            process.wait_for("copying tasks")
            proxy.refuse_connections()
            proxy.cut()
            process.wait_for("broker unavailable")
            id = app.send_task("export.echo", [1]).id
            proxy.accept_connections()
            wait_until(lambda: store.find(id))
            # The emulator of SQS would give the next message to the poll that was cut.
            if broker.name != "sqs":
                with no_more_files(process):
                    known = process.text.count("broker unavailable")
                    proxy.cut()
                    wait_until(lambda: process.text.count("broker unavailable") > known)
                    id = app.send_task("export.echo", [1]).id
                wait_until(lambda: store.find(id))
            proxy.refuse_connections()
            proxy.cut()
            exit_code = process.stop()

    assert exit_code == 0
    assert take_all(app, "export") == (1 if broker.name == "sqs" else 2)


@contextmanager
def no_more_files(process: Process) -> Iterator[None]:
    """Let a process open no more files and connections during the block."""
    limits = resource.prlimit(process.pid, resource.RLIMIT_NOFILE)
    resource.prlimit(process.pid, resource.RLIMIT_NOFILE, (3, limits[1]))
    try:
        yield
    finally:
        resource.prlimit(process.pid, resource.RLIMIT_NOFILE, limits)


@pytest.mark.parametrize("broker", ["redis"], indirect=True)
def test_a_monitor_killed_while_it_receives_a_message_loses_none(
    app: Celery, broker: Broker, store: TaskStore, tmp_path: Path
) -> None:
    fast_redelivery = {"visibility_timeout": 1, "unacked_restore_throttle": 1}
    environment = broker.environment | {
        TRANSPORT_OPTIONS: json.dumps(
            app.conf.broker_transport_options | fast_redelivery
        )
    }
    queues = RedisContents(
        BrokerAccess(app.conf.broker_url, app.conf.broker_transport_options)
    )
    with run_monitor(environment, tmp_path) as process:
        wait_until(lambda: queues.blocked() == 1)
        process.pause()
        id = app.send_task("export.echo", [1]).id
        # The server has sent the message to the monitor, which is paused.
        wait_until(lambda: queues.ids("export") and not queues.ids("platform.fifo"))
        process.kill()
    with run_monitor(environment, tmp_path):
        wait_until(lambda: store.find(id))

        assert queues.ids("platform.fifo") == []
    assert [task.id for task in store.list()] == [id]

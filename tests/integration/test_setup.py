"""What `setup_app` finds on real servers when a service starts."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from amqp import Message
from celery import Celery
from sqlalchemy import NullPool, create_engine, make_url, text

from cadasta.workertoolbox.conf import (
    BrokerUnreachable,
    Config,
    DeclarationRefused,
    setup_app,
)
from cadasta.workertoolbox.results import DatabaseUnavailable, SchemaOutdated
from servers.ports import HOST, free_ports
from servers.postgresql import refuse_connections
from support.brokers import result_backend_url
from support.queue_contents import RabbitMQContents, open_queue_contents


@pytest.fixture
def queues(request: pytest.FixtureRequest, tmp_path: Any) -> Iterator[RabbitMQContents]:
    """A virtual host of RabbitMQ."""
    with open_queue_contents("rabbitmq", request, tmp_path) as queues:
        assert isinstance(queues, RabbitMQContents)
        yield queues


def configured(broker: str, database: str, **settings: Any) -> Celery:
    app = Celery("export", set_as_current=False)
    app.config_from_object(
        Config(
            ["export", "msg"],
            broker_url=broker,
            result_backend=result_backend_url(database),
            **settings,
        )
    )
    return app


def said(app: Celery) -> list[tuple[type[Exception], str]]:
    """Return what failed, and what it says."""
    return [(type(error), str(error)) for error in setup_app(app, throw=False)]


def forget_revision(database: str) -> None:
    """Make a schema look as old as the first one."""
    engine = create_engine(database, poolclass=NullPool)
    with engine.begin() as connection:
        connection.execute(text("UPDATE workertoolbox_version SET version_num='0001'"))


@pytest.mark.parametrize("queue_type", ["classic", "quorum"])
def test_everything_is_declared_without_failures(
    queues: RabbitMQContents, database: str, queue_type: str
) -> None:
    app = configured(queues.access.url, database, queue_type=queue_type)

    assert setup_app(app) == []
    with queues.channel() as channel:
        for queue in ("celery", "export", "msg", "platform.fifo"):
            channel.queue_declare(queue, passive=True)
        channel.basic_publish(Message(), "task_exchange", "export")
    assert len(queues.messages("export")) == len(queues.messages("platform.fifo")) == 1


def test_an_unavailable_broker_and_database_are_both_reported(database: str) -> None:
    [port] = free_ports(1)
    app = configured(f"amqp://guest:geheim@{HOST}:{port}//", database)
    with refuse_connections(make_url(database)):
        failures = said(app)

    assert [kind for kind, _ in failures] == [BrokerUnreachable, DatabaseUnavailable]
    assert "geheim" not in str(failures)


def test_a_wrong_exchange_a_wrong_queue_and_an_old_schema_are_all_reported(
    queues: RabbitMQContents, database: str
) -> None:
    with queues.channel() as channel:
        channel.exchange_declare("task_exchange", "direct", auto_delete=False)
        channel.queue_declare("msg", durable=False, auto_delete=False)
    forget_revision(database)
    failures = said(configured(queues.access.url, database))

    assert [kind for kind, _ in failures] == [
        DeclarationRefused,
        DeclarationRefused,
        SchemaOutdated,
    ]
    assert "exchange 'task_exchange' of type 'topic'" in failures[0][1]
    assert "inequivalent arg 'type'" in failures[0][1]
    assert "queue 'msg'" in failures[1][1]
    assert "tasks upgrade" in failures[2][1]
    with queues.channel() as channel:
        channel.queue_declare("export", passive=True)


def test_each_queue_with_other_arguments_is_reported(
    queues: RabbitMQContents, database: str
) -> None:
    with queues.channel() as channel:
        channel.queue_declare("export", arguments={"x-max-length": 5})
        channel.queue_declare("platform.fifo", arguments={"x-max-length": 5})
    failures = said(configured(queues.access.url, database))

    assert [kind for kind, _ in failures] == 2 * [DeclarationRefused]
    assert ["'export'" in text for _, text in failures] == [True, False]
    assert ["'platform.fifo'" in text for _, text in failures] == [False, True]


def test_a_producer_is_tracked_without_setup_app(
    queues: RabbitMQContents, database: str
) -> None:
    for ready in (False, True):
        app = configured(queues.access.url, database)
        if ready:
            setup_app(app)
        app.send_task("export.project")
        app.close()

    assert queues.ids("export") == queues.ids("platform.fifo")
    assert len(queues.ids("export")) == 2

"""`setup_app` on real servers: what it declares, and the failures it reports."""

from __future__ import annotations

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
from support.queue_contents import RabbitMQContents


def make_app(broker: str, database: str, **settings: Any) -> Celery:
    """Return an app with this broker and this database."""
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


def setup_failures(app: Celery) -> list[tuple[type[Exception], str]]:
    """Return the type and the message of each failure."""
    return [(type(error), str(error)) for error in setup_app(app, throw=False)]


def downgrade_revision(database: str) -> None:
    """Record the first revision as the current one."""
    engine = create_engine(database, poolclass=NullPool)
    with engine.begin() as connection:
        connection.execute(text("UPDATE workertoolbox_version SET version_num='0001'"))


@pytest.mark.parametrize("queue_type", ["classic", "quorum"])
def test_everything_is_declared_without_failures(
    rabbitmq_queues: RabbitMQContents, database: str, queue_type: str
) -> None:
    app = make_app(rabbitmq_queues.access.url, database, queue_type=queue_type)

    assert setup_app(app) == []
    with rabbitmq_queues.channel() as channel:
        for queue in ("celery", "export", "msg", "platform.fifo"):
            channel.queue_declare(queue, passive=True)
        channel.basic_publish(Message(), "task_exchange", "export")
    assert (
        len(rabbitmq_queues.messages("export"))
        == len(rabbitmq_queues.messages("platform.fifo"))
        == 1
    )


def test_an_unavailable_broker_and_database_are_both_reported(database: str) -> None:
    [port] = free_ports(1)
    app = make_app(f"amqp://guest:geheim@{HOST}:{port}//", database)
    with refuse_connections(make_url(database)):
        failures = setup_failures(app)

    assert [kind for kind, _ in failures] == [BrokerUnreachable, DatabaseUnavailable]
    assert "geheim" not in str(failures)


def test_a_wrong_exchange_a_wrong_queue_and_an_old_schema_are_all_reported(
    rabbitmq_queues: RabbitMQContents, database: str
) -> None:
    with rabbitmq_queues.channel() as channel:
        channel.exchange_declare("task_exchange", "direct", auto_delete=False)
        channel.queue_declare("msg", durable=False, auto_delete=False)
    downgrade_revision(database)
    failures = setup_failures(make_app(rabbitmq_queues.access.url, database))

    assert [kind for kind, _ in failures] == [
        DeclarationRefused,
        DeclarationRefused,
        SchemaOutdated,
    ]
    assert "exchange 'task_exchange' of type 'topic'" in failures[0][1]
    assert "inequivalent arg 'type'" in failures[0][1]
    assert "queue 'msg'" in failures[1][1]
    assert "tasks upgrade" in failures[2][1]
    with rabbitmq_queues.channel() as channel:
        channel.queue_declare("export", passive=True)


def test_each_queue_with_other_arguments_is_reported(
    rabbitmq_queues: RabbitMQContents, database: str
) -> None:
    with rabbitmq_queues.channel() as channel:
        channel.queue_declare("export", arguments={"x-max-length": 5})
        channel.queue_declare("platform.fifo", arguments={"x-max-length": 5})
    failures = setup_failures(make_app(rabbitmq_queues.access.url, database))

    assert [kind for kind, _ in failures] == 2 * [DeclarationRefused]
    assert ["'export'" in text for _, text in failures] == [True, False]
    assert ["'platform.fifo'" in text for _, text in failures] == [False, True]


def test_a_producer_is_tracked_without_setup_app(
    rabbitmq_queues: RabbitMQContents, database: str
) -> None:
    for with_setup in (False, True):
        app = make_app(rabbitmq_queues.access.url, database)
        if with_setup:
            setup_app(app)
        app.send_task("export.project")
        app.close()

    assert rabbitmq_queues.ids("export") == rabbitmq_queues.ids("platform.fifo")
    assert len(rabbitmq_queues.ids("export")) == 2

"""Servers for the session, started when the first test needs them; brokers and
databases for each test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from celery import Celery

from cadasta.workertoolbox.results import TaskStore, upgrade
from servers import postgresql as postgresql_server
from servers import rabbitmq as rabbitmq_server
from servers import redis as redis_server
from servers import sqs as sqs_server
from servers.access import BrokerServer
from servers.postgresql import PostgreSQL
from servers.rabbitmq import ExternalRabbitMQ, RabbitMQ
from servers.redis import Redis
from servers.sqs import SQS
from support.brokers import (
    MAIN_BROKERS,
    Broker,
    folder_broker,
    open_app,
    result_backend_url,
    server_broker,
)
from support.echo_service import make_app


@pytest.fixture(scope="session")
def rabbitmq(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[RabbitMQ | ExternalRabbitMQ]:
    """A RabbitMQ broker."""
    with rabbitmq_server.serve(tmp_path_factory.mktemp("rabbitmq")) as server:
        yield server


@pytest.fixture(scope="session")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Redis]:
    """A Redis server."""
    with redis_server.serve(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture(scope="session")
def amqps(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RabbitMQ]:
    """A RabbitMQ broker with TLS."""
    with rabbitmq_server.serve_tls(tmp_path_factory.mktemp("amqps")) as server:
        yield server


@pytest.fixture(scope="session")
def rediss(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Redis]:
    """A Redis server with TLS."""
    with redis_server.serve_tls(tmp_path_factory.mktemp("rediss")) as server:
        yield server


@pytest.fixture(scope="session")
def sentinel(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Redis]:
    """A Redis server behind a sentinel."""
    with redis_server.serve_sentinel(tmp_path_factory.mktemp("sentinel")) as server:
        yield server


@pytest.fixture(scope="session")
def sqs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SQS]:
    """An emulator of Amazon SQS."""
    with sqs_server.serve(tmp_path_factory.mktemp("sqs")) as server:
        yield server


@pytest.fixture(scope="session")
def postgresql() -> Iterator[PostgreSQL]:
    """A PostgreSQL server."""
    with postgresql_server.serve(
        lambda url: upgrade(result_backend_url(url))
    ) as server:
        yield server


@pytest.fixture(params=MAIN_BROKERS)
def broker(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Broker]:
    """Each broker in turn, which the test has to itself, and an empty database."""
    name: str = request.param
    if name == "filesystem":
        yield folder_broker(tmp_path / ".workertoolbox")
        return
    server: BrokerServer = request.getfixturevalue(name)
    databases: PostgreSQL = request.getfixturevalue("postgresql")
    with databases.database() as database, server.access() as access:
        yield server_broker(name, access, database=database)


@pytest.fixture
def app(broker: Broker, monkeypatch: pytest.MonkeyPatch) -> Iterator[Celery]:
    """The service `fleet` on that broker and database, which is migrated."""
    with open_app(broker, make_app, monkeypatch) as app:
        yield app


@pytest.fixture
def store(app: Celery) -> Iterator[TaskStore]:
    """What is known of the tasks of `app`."""
    with TaskStore.for_app(app) as store:
        yield store


@pytest.fixture
def database(postgresql: PostgreSQL) -> Iterator[str]:
    """The SQLAlchemy URL of an empty PostgreSQL database with the current schema."""
    with postgresql.database() as url:
        yield url


@pytest.fixture(params=["postgresql", "sqlite"])
def result_backend(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The result-backend URL of an empty database of each kind, with the schema."""
    if request.param == "postgresql":
        yield result_backend_url(request.getfixturevalue("database"))
        return
    url = result_backend_url(f"sqlite:///{tmp_path / 'results.sqlite'}")
    upgrade(url)
    yield url

"""Fixtures: servers for the whole session, brokers and databases for each test."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from typing import Any

import pytest
from celery import Celery
from sqlalchemy import Engine, create_engine

from cadasta.workertoolbox.conf import setup_app
from cadasta.workertoolbox.results import TaskStore, upgrade
from servers import postgresql as postgresql_server
from servers import rabbitmq as rabbitmq_server
from servers import redis as redis_server
from servers import sqs as sqs_server
from servers.access import BrokerAccess, BrokerServer
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
from support.checkups import configured_app
from support.chord_harness import SHARED_QUEUES, ChordHarness, open_chord_harness
from support.echo_service import make_app
from support.fresh_database import fresh_database
from support.processes import Process
from support.queue_contents import (
    QueueContents,
    RabbitMQContents,
    SQSContents,
    open_queue_contents,
)
from support.result_backends import sqlalchemy_url
from support.task_commands import run_tasks_command
from support.task_histories import History, open_history

#: No server listens there. Commands that need no broker are started with it.
NO_BROKER = "amqp://127.0.0.1:1//"


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
    """Each broker in turn, empty and used by this test alone, with a database."""
    name: str = request.param
    if name == "filesystem":
        yield folder_broker(tmp_path / ".workertoolbox")
        return
    server: BrokerServer = request.getfixturevalue(name)
    databases: PostgreSQL = request.getfixturevalue("postgresql")
    with databases.database() as database, server.access() as access:
        yield server_broker(name, access, database=database)


@pytest.fixture
def access(rabbitmq: BrokerServer) -> Iterator[BrokerAccess]:
    """A virtual host of RabbitMQ."""
    with rabbitmq.access() as access:
        yield access


@pytest.fixture
def app(broker: Broker, monkeypatch: pytest.MonkeyPatch) -> Iterator[Celery]:
    """The service `echo_service` on `broker` and its migrated database."""
    with open_app(broker, make_app, monkeypatch) as app:
        yield app


@pytest.fixture
def store(app: Celery) -> Iterator[TaskStore]:
    """The task store of `app`."""
    with TaskStore.for_app(app) as store:
        yield store


@pytest.fixture
def database(postgresql: PostgreSQL) -> Iterator[str]:
    """The SQLAlchemy URL of an empty PostgreSQL database with the current schema."""
    with postgresql.database() as url:
        yield url


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SQLite database with the schema, to copy, because migrations take longer."""
    path = tmp_path_factory.mktemp("template") / "results.sqlite"
    upgrade(f"sqlite:///{path}")
    return path


@pytest.fixture(params=["postgresql", "sqlite"])
def result_backend(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The result-backend URL of an empty database of each kind, with the schema."""
    if request.param == "postgresql":
        return result_backend_url(request.getfixturevalue("database"))
    template: Path = request.getfixturevalue("sqlite_template")
    return result_backend_url(f"sqlite:///{shutil.copy(template, tmp_path)}")


@pytest.fixture
def engine(result_backend: str) -> Iterator[Engine]:
    """An engine for the database of `result_backend`."""
    engine = create_engine(sqlalchemy_url(result_backend))
    yield engine
    engine.dispose()


@pytest.fixture
def database_store(result_backend: str) -> Iterator[TaskStore]:
    """The task store of `result_backend`."""
    with TaskStore(result_backend) as store:
        yield store


@pytest.fixture(scope="module", params=["postgresql", "sqlite"])
def opened(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[History]:
    """A history in a database of each kind, for all tests of a module."""
    folder = tmp_path_factory.mktemp("history")
    with fresh_database(request, folder) as url, open_history(url) as history:
        yield history


@pytest.fixture
def past(opened: History) -> Iterator[History]:
    """A history without tasks; its figures are compared with it at the end."""
    opened.clear()
    past = History(opened.app, opened.engine)
    yield past
    past.check_rollups()
    past.check_values()


@pytest.fixture
def rabbitmq_environment(access: BrokerAccess, result_backend: str) -> dict[str, str]:
    """The variables for a virtual host of RabbitMQ and each result backend in turn."""
    return {
        "WORKERTOOLBOX_BROKER_URL": access.url,
        "WORKERTOOLBOX_RESULT_BACKEND": result_backend,
    }


@pytest.fixture
def rabbitmq_app(
    rabbitmq_environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> Iterator[Celery]:
    """The service `echo_service` in that environment."""
    for name, value in rabbitmq_environment.items():
        monkeypatch.setenv(name, value)
    app = make_app()
    yield app
    app.close()


@pytest.fixture
def queues(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[QueueContents]:
    """The broker that the test's parameter names, used by this test alone."""
    with open_queue_contents(request.param, request, tmp_path) as queues:
        yield queues


@pytest.fixture
def rabbitmq_queues(
    request: pytest.FixtureRequest, tmp_path: Path
) -> Iterator[RabbitMQContents]:
    """A virtual host of RabbitMQ."""
    with open_queue_contents("rabbitmq", request, tmp_path) as queues:
        assert isinstance(queues, RabbitMQContents)
        yield queues


@pytest.fixture
def sqs_queues(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[SQSContents]:
    """SQS with a queue prefix for this test alone."""
    with open_queue_contents("sqs", request, tmp_path) as queues:
        assert isinstance(queues, SQSContents)
        yield queues


@pytest.fixture
def run_purge(
    database: str, tmp_path: Path
) -> Callable[..., AbstractContextManager[Process]]:
    """Run `tasks purge` with some options on `database` until the block ends."""
    environment = {
        "WORKERTOOLBOX_BROKER_URL": NO_BROKER,
        "WORKERTOOLBOX_RESULT_BACKEND": result_backend_url(database),
    }
    return lambda *words: run_tasks_command(environment, tmp_path, "purge", *words)


@pytest.fixture
def undeclared_app(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Celery]:
    """The service `echo_service` in a folder, where no queue is declared."""
    with configured_app(monkeypatch, folder=tmp_path / "box") as app:
        upgrade(app.conf.result_backend)
        yield app


@pytest.fixture
def declared_app(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[[str], Celery]]:
    """Return the service `fleet` on the named broker, with its queues and SQLite."""
    with ExitStack() as stack:

        def make(name: str) -> Celery:
            variables: dict[str, object] = {"folder": tmp_path / "box"}
            if name != "filesystem":
                access = stack.enter_context(request.getfixturevalue(name).access())
                variables = {
                    "broker_url": access.url,
                    "broker_transport_options": json.dumps(access.transport_options),
                    "result_backend": result_backend_url(
                        f"sqlite:///{tmp_path}/sqlite"
                    ),
                }
            app = stack.enter_context(configured_app(monkeypatch, **variables))
            upgrade(app.conf.result_backend)
            setup_app(app)
            return app

        yield make


@pytest.fixture(scope="module", params=["rabbitmq", "filesystem"])
def chord_service(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ChordHarness]:
    """Each broker in turn, with two workers of two processes that run chords."""
    with ExitStack() as stack:
        folder = tmp_path_factory.mktemp(request.param)
        service = stack.enter_context(open_chord_harness(request, folder))
        for _ in range(2):
            worker = stack.enter_context(service.worker(queues=SHARED_QUEUES))
            stack.callback(worker.kill)
        yield service


@pytest.fixture
def chords(chord_service: ChordHarness) -> Iterator[ChordHarness]:
    """The chord service for one test, which must not publish `celery.chord_unlock`."""
    yield chord_service
    chord_service.publications("")

    published = {sent.task for sent in chord_service.published}
    assert "celery.chord_unlock" not in published


@pytest.fixture
def task(chords: ChordHarness) -> Callable[..., Any]:
    """Return the signature of a task of the chord service, by its name."""

    def make_signature(name: str, *args: object, **kwargs: object) -> Any:
        return chords.app.tasks[f"export.{name}"].s(*args, **kwargs)

    return make_signature

"""Brokers and databases of tests, as environment variables that `Config` reads."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from celery import Celery

from cadasta.workertoolbox.results import upgrade
from servers.access import BrokerAccess

#: One broker of each kind, for tests that do not need every broker.
MAIN_BROKERS = ("rabbitmq", "redis", "sqs", "filesystem")

#: Every supported broker.
ALL_BROKERS = ("rabbitmq", "quorum", "redis", "sqs", "filesystem", "sqlalchemy")

#: The name of the fixture with the server of each broker that has one.
SERVER_FIXTURES = {
    "rabbitmq": "rabbitmq",
    "quorum": "rabbitmq",
    "redis": "redis",
    "sqs": "sqs",
}

#: Variables of a broker beyond the URL and the options of its server.
_EXTRA_VARIABLES = {"quorum": {"WORKERTOOLBOX_QUEUE_TYPE": "quorum"}}


@dataclass(frozen=True)
class Broker:
    """A broker that one test has to itself.

    Attributes:
        name: One of `ALL_BROKERS`.
        environment: The variables that `Config` reads in each process of a service.
    """

    name: str
    environment: dict[str, str]


@contextmanager
def open_app(
    broker: Broker, make_app: Callable[[], Celery], monkeypatch: pytest.MonkeyPatch
) -> Iterator[Celery]:
    """Yield the app of a service on a broker, with the schema in its database."""
    for name, value in broker.environment.items():
        monkeypatch.setenv(name, value)
    app = make_app()
    upgrade(app.conf.result_backend)
    yield app
    app.close()


def server_broker(name: str, access: BrokerAccess, *, database: str) -> Broker:
    """Return a broker that is a server.

    Args:
        name: One of `SERVER_FIXTURES`.
        access: The part of the server that the test uses.
        database: The SQLAlchemy URL of a database with the schema.
    """
    return Broker(
        name,
        {
            "WORKERTOOLBOX_BROKER_URL": access.url,
            "WORKERTOOLBOX_BROKER_TRANSPORT_OPTIONS": json.dumps(
                access.transport_options
            ),
            "WORKERTOOLBOX_RESULT_BACKEND": result_backend_url(database),
            **_EXTRA_VARIABLES.get(name, {}),
        },
    )


def database_broker(folder: Path) -> Broker:
    """Return a broker that is a SQLite database, with another one for the results."""
    access = BrokerAccess(f"sqla+sqlite:///{folder / 'broker.sqlite'}")
    return server_broker(
        "sqlalchemy", access, database=f"sqlite:///{folder / 'results.sqlite'}"
    )


def folder_broker(folder: Path) -> Broker:
    """Return a broker that is a folder, with a SQLite database for the results."""
    return Broker("filesystem", {"WORKERTOOLBOX_FOLDER": str(folder)})


def result_backend_url(database: str) -> str:
    """Return the result-backend URL for the SQLAlchemy URL of a database."""
    return f"workertoolbox+{database}"

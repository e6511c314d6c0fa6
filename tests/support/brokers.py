"""What tells the processes of a fleet where their broker and database are."""

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

#: One broker of each kind, for tests of what does not depend on more.
MAIN_BROKERS = ("rabbitmq", "redis", "sqs", "filesystem")

#: Every broker that the contract holds on.
ALL_BROKERS = ("rabbitmq", "quorum", "redis", "sqs", "filesystem", "sqlalchemy")

#: The fixture with the server behind each broker that has one.
SERVER_FIXTURES = {
    "rabbitmq": "rabbitmq",
    "quorum": "rabbitmq",
    "redis": "redis",
    "sqs": "sqs",
}

#: What one broker needs beyond a server's URL and options.
_OWN = {"quorum": {"WORKERTOOLBOX_QUEUE_TYPE": "quorum"}}


@dataclass(frozen=True)
class Broker:
    """A broker that one test has to itself.

    Attributes:
        name: One of `EVERY`.
        environment: The variables that `Config` reads in each process of the fleet.
    """

    name: str
    environment: dict[str, str]


@contextmanager
def open_app(
    broker: Broker, make_app: Callable[[], Celery], monkeypatch: pytest.MonkeyPatch
) -> Iterator[Celery]:
    """Yield a service's app on a broker and a database, which is migrated."""
    for name, value in broker.environment.items():
        monkeypatch.setenv(name, value)
    app = make_app()
    upgrade(app.conf.result_backend)
    yield app
    app.close()


def server_broker(name: str, access: BrokerAccess, *, database: str) -> Broker:
    """Return a broker that is a server.

    Args:
        name: Which one.
        access: The part of it that the fleet gets.
        database: The SQLAlchemy URL of a migrated database.
    """
    return Broker(
        name,
        {
            "WORKERTOOLBOX_BROKER_URL": access.url,
            "WORKERTOOLBOX_BROKER_TRANSPORT_OPTIONS": json.dumps(
                access.transport_options
            ),
            "WORKERTOOLBOX_RESULT_BACKEND": result_backend_url(database),
            **_OWN.get(name, {}),
        },
    )


def database_broker(folder: Path) -> Broker:
    """Return the broker that is a database, with another one for the results."""
    access = BrokerAccess(f"sqla+sqlite:///{folder / 'broker.sqlite'}")
    return server_broker(
        "sqlalchemy", access, database=f"sqlite:///{folder / 'results.sqlite'}"
    )


def folder_broker(folder: Path) -> Broker:
    """Return the broker that is a folder, with its database in it."""
    return Broker("filesystem", {"WORKERTOOLBOX_FOLDER": str(folder)})


def result_backend_url(database: str) -> str:
    """Return the result-backend URL of a database that has a SQLAlchemy URL."""
    return f"workertoolbox+{database}"

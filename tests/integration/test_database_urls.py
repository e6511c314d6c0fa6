"""What a URL of PostgreSQL asks of the driver is honoured."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from threading import Thread

import pytest
from celery import states
from sqlalchemy import make_url

from cadasta.workertoolbox.results import (
    DatabaseUnavailable,
    TaskStore,
    UnsupportedSetting,
    upgrade,
)
from cadasta.workertoolbox.results._database.engine import CONNECT_TIMEOUT_S
from servers.ports import HOST
from servers.postgresql import PostgreSQL
from support.brokers import result_backend_url
from support.polling import wait_until
from support.result_backends import REQUEST, app_with_backend
from support.statements import execute, fetch


@dataclass
class SilentServer:
    """A server that accepts connections and never answers.

    Attributes:
        address: Its host and port.
        waits_s: How long each client waited, in seconds, until it closed its
            connection. Unlike a clock in the client, this leaves out what the client
            does before and after.
    """

    address: str
    waits_s: list[float] = field(default_factory=list)

    def serve(self, server: socket.socket) -> None:
        """Accept connections one after the other until the server is shut down."""
        while True:
            try:
                client, _ = server.accept()
            except OSError:
                return
            began_at = time.monotonic()
            with client:
                while client.recv(1024):
                    pass
            self.waits_s.append(time.monotonic() - began_at)


@pytest.fixture
def silent_server() -> Iterator[SilentServer]:
    """A server that accepts connections and never answers."""
    with socket.create_server((HOST, 0)) as server:
        silent = SilentServer(f"{HOST}:{server.getsockname()[1]}")
        thread = Thread(target=silent.serve, args=[server])
        thread.start()
        yield silent
        server.shutdown(socket.SHUT_RDWR)
        thread.join()


@pytest.mark.parametrize("timeout_s", [2, 4])
def test_a_connection_waits_as_long_as_the_url_says(
    silent_server: SilentServer, timeout_s: int
) -> None:
    url = result_backend_url(
        f"postgresql+psycopg2://me:geheim@{silent_server.address}/tasks"
        f"?connect_timeout={timeout_s}"
    )
    with pytest.raises(DatabaseUnavailable, match="timeout"):
        TaskStore(url)
    app = app_with_backend(url)
    app.conf.result_backend_always_retry = False
    with pytest.raises(DatabaseUnavailable, match="timeout"):
        app.backend.get_task_meta("1")
    wait_until(lambda: len(silent_server.waits_s) >= 2)

    assert len(silent_server.waits_s) == 2
    for waited_s in silent_server.waits_s:
        assert timeout_s - 1 < waited_s < (timeout_s + CONNECT_TIMEOUT_S) / 2


def test_the_schema_that_the_advice_names_in_the_url_has_the_tables(
    postgresql: PostgreSQL, database: str
) -> None:
    app = app_with_backend(result_backend_url(database))
    app.conf.database_table_schemas = {"task": "results", "group": "results"}
    with pytest.raises(UnsupportedSetting) as refusal:
        _ = app.backend
    [query] = str(refusal.value).split("…/workers?")[1:]
    execute(database, "CREATE SCHEMA results")
    url = result_backend_url(
        f"{database}{'&' if make_url(database).query else '?'}{query}"
    )
    upgrade(url)
    backend = app_with_backend(url).backend
    backend.store_result("1", "in the schema", states.SUCCESS, request=REQUEST)
    with TaskStore(url) as store:
        found = store.get("1")

    assert found.result == "in the schema"
    assert fetch(database, "SELECT task_id FROM results.celery_taskmeta") == [("1",)]
    assert fetch(database, "SELECT task_id FROM public.celery_taskmeta") == []

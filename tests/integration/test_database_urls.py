"""What a URL of PostgreSQL asks of the driver is honoured."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator

import pytest
from celery import states
from sqlalchemy import make_url

from cadasta.workertoolbox.results import (
    DatabaseUnavailable,
    TaskStore,
    UnsupportedSetting,
    upgrade,
)
from servers.ports import HOST
from servers.postgresql import PostgreSQL
from support.brokers import result_backend_url
from support.result_backends import REQUEST, app_with_backend
from support.statements import execute, fetch


@pytest.fixture
def silent_server() -> Iterator[str]:
    """The address of a server that accepts connections and never answers."""
    with socket.create_server((HOST, 0)) as server:
        yield f"{HOST}:{server.getsockname()[1]}"


@pytest.mark.parametrize("timeout_s", [3, 5])
def test_a_connection_waits_as_long_as_the_url_says(
    silent_server: str, timeout_s: int
) -> None:
    url = result_backend_url(
        f"postgresql+psycopg2://me:geheim@{silent_server}/tasks"
        f"?connect_timeout={timeout_s}"
    )
    began_at = time.monotonic()
    with pytest.raises(DatabaseUnavailable, match="timeout"):
        TaskStore(url)
    with_store_s = time.monotonic() - began_at
    app = app_with_backend(url)
    app.conf.result_backend_always_retry = False
    began_at = time.monotonic()
    with pytest.raises(DatabaseUnavailable, match="timeout"):
        app.backend.get_task_meta("1")
    with_backend_s = time.monotonic() - began_at

    for waited_s in (with_store_s, with_backend_s):
        # One wait: neither two, nor the default of ten seconds.
        assert timeout_s - 1 < waited_s < 2 * timeout_s


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

"""The pages with the documented roles of PostgreSQL."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime

import pytest
from celery import Celery
from kombu import Queue
from sqlalchemy import insert
from starlette.routing import BaseRoute, Mount, Route
from starlette.testclient import TestClient

from cadasta.workertoolbox.results import TaskStore
from cadasta.workertoolbox.results._database.tables import operation
from cadasta.workertoolbox.results.web import Operator, create_app
from servers.postgresql import PostgreSQL
from support.brokers import result_backend_url
from support.documented_grants import grant_statements, granted_role
from support.failed_tasks import GROUP, store_failed
from support.polling import wait_until

#: Parameters that a page or a method needs.
QUERIES = {"/rerun": "?id=1", "/api/v1/stuck": "?older_than=1h"}

ORIGIN = {"origin": "http://localhost"}


@pytest.fixture(scope="module")
def filled(postgresql: PostgreSQL) -> Iterator[str]:
    """The URL of a database with a few failed tasks, for all tests of this file."""
    with postgresql.database() as url:
        with TaskStore(result_backend_url(url)) as store:
            store_failed(store, ["1", "2", "3"])
            now = datetime.now(UTC)
            made = {"kind": "rerun", "made_by": "ann", "selection": "", "tasks": 0}
            with store.engine.begin() as connection:
                row = {"id": "1", "started_at": now, "finished_at": now, **made}
                connection.execute(insert(operation).values(**row))
        yield url


@contextmanager
def opened(database: str, *roles: str) -> Iterator[tuple[TestClient, TaskStore]]:
    """Yield a client of the pages, whose user of the database has these roles only."""
    app = Celery("web", broker="memory://", set_as_current=False)
    app.amqp.queues.add(Queue("export"))
    grants = [each for role in roles for each in grant_statements(role)]
    statements = [re.sub(r"TO \w+;", "TO {role};", each) for each in grants]
    with ExitStack() as stack:
        url = stack.enter_context(granted_role(database, *statements))
        store = stack.enter_context(TaskStore(result_backend_url(url)))
        pages = create_app(store, operator=Operator(app))
        client = TestClient(
            *(pages, "http://localhost"),
            client=("127.0.0.1", 1),
            follow_redirects=False,
        )
        with client:
            yield client, store
        app.close()


def fields_of(page: str, action: str) -> Mapping[str, str]:
    """Return the fields of the form of a page that is sent to a path."""
    form = re.findall(rf'<form[^>]* action="{re.escape(action)}".*?</form>', page, re.S)
    found = re.findall(r'<input[^>]* name="(\w+)"[^>]* value="([^"]*)"', form[0])
    return {name: html.unescape(value) for name, value in found}


def readable(routes: Sequence[BaseRoute]) -> Iterator[str]:
    """Yield the paths of all routes that only read."""
    for route in routes:
        if isinstance(route, Mount) and route.name != "static":
            yield from (route.path + path for path in readable(route.routes))
        elif isinstance(route, Route) and "GET" in (route.methods or ()):
            yield route.path


def test_a_reader_sees_every_page_and_changes_nothing(filled: str) -> None:
    with opened(filled, "reader") as (client, store):
        before = store.error_group(GROUP).state, [*store.operations()]
        answers = {}
        for path in readable(client.app.routes):  # type: ignore[attr-defined]
            id = GROUP if "/errors/" in path or "/error-groups/" in path else "1"
            asked = path.replace("{id:path}", id).replace("{id}", id)
            asked += QUERIES.get(path, "")
            answers[asked] = client.get(asked).status_code
        page = client.get(f"/errors/{GROUP}")
        action = f"/errors/{GROUP.replace(':', '%3A')}/resolve"
        resolved = client.post(
            action, data=fields_of(page.text, action), headers=ORIGIN
        )
        form = fields_of(client.get("/rerun?id=1").text, "/rerun")
        form = {**form, "count": "1", "reason": "r"}
        rerun = client.post("/rerun", data=form, headers=ORIGIN)
        after = store.error_group(GROUP).state, [*store.operations()]

    others = {path: status for path, status in answers.items() if status != 200}
    assert others == {}
    assert resolved.status_code == rerun.status_code == 403
    denied = "permission denied for table workertoolbox_"
    assert f"{denied}error_group (42501); it takes a role with" in resolved.text
    assert "the privileges of a purger" in resolved.text
    assert f"{denied}operation (42501)" in rerun.text
    assert "the privileges of an operator" in rerun.text
    assert before == after


def test_a_reader_who_is_an_operator_and_a_purger_changes_both(filled: str) -> None:
    with opened(filled, "reader", "operator", "purger") as (client, store):
        page = client.get(f"/errors/{GROUP}")
        action = f"/errors/{GROUP.replace(':', '%3A')}/resolve"
        resolved = client.post(
            action, data=fields_of(page.text, action), headers=ORIGIN
        )
        form = fields_of(client.get("/rerun?id=2").text, "/rerun")
        form = {**form, "count": "1", "reason": "r"}
        rerun = client.post("/rerun", data=form, headers=ORIGIN)
        id = rerun.headers["location"].rpartition("/")[2]
        wait_until(lambda: store.operation(id).finished_at)
        made_by = store.operation(id).made_by
        state = store.error_group(GROUP).state

        form = fields_of(page.text, action)
        unknown = client.post("/errors/%00/resolve", data=form, headers=ORIGIN)

    assert unknown.status_code == 404
    assert resolved.status_code == rerun.status_code == 303
    assert state == "resolved"
    assert made_by == "anonymous at 127.0.0.1"


@contextmanager
def locked(database: str, *tables: str, mode: str) -> Iterator[None]:
    """Lock tables, for ten seconds at most, so that a wait without a limit ends."""
    with TaskStore(result_backend_url(database)) as owner, owner.engine.begin() as held:
        held.exec_driver_sql("SET LOCAL idle_in_transaction_session_timeout = '10s'")
        held.exec_driver_sql(f"LOCK TABLE {', '.join(tables)} IN {mode} MODE")
        yield


def test_no_statement_of_a_page_waits_for_a_lock_without_a_limit(filled: str) -> None:
    with opened(filled, "reader", "operator", "purger") as (client, store):
        store.timeout_s = 0.3
        with locked(filled, "workertoolbox_version", mode="ACCESS EXCLUSIVE"):
            first = client.get("/errors")
        store.timeout_s = 10.0
        action = f"/errors/{GROUP.replace(':', '%3A')}/ignore"
        form = fields_of(client.get("/rerun?id=3").text, "/rerun")
        form = {**form, "count": "1", "reason": "r"}
        store.timeout_s = 0.3
        tables = "workertoolbox_error_group", "workertoolbox_operation"
        with locked(filled, *tables, mode="SHARE"):  # They can still be read.
            ignored = client.post(action, data=form, headers=ORIGIN)
            rerun = client.post("/rerun", data=form, headers=ORIGIN)

    assert first.status_code == 504
    assert "the database is busy or locked" in first.text
    assert ignored.status_code == rerun.status_code == 504


@pytest.mark.parametrize("kind", ["tasks", "workflows", "errors", "operations"])
@pytest.mark.parametrize("id", ["%00", "a%00b", "%ED%A0%80", "x" * 5000])
def test_an_id_that_the_database_cannot_store_is_not_found(
    filled: str, kind: str, id: str
) -> None:
    with opened(filled, "reader") as (client, _):
        assert client.get(f"/{kind}/{id}").status_code == 404

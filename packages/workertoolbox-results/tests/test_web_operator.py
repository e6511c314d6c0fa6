"""What users of the pages may change: states of errors, and reruns."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import pytest
from celery import Celery
from html_pages import parse
from httpx2 import Response
from kombu import Queue
from messages import message
from polling import eventually
from sqlalchemy import event, insert
from starlette.applications import Starlette
from starlette.routing import BaseRoute, Mount, Route
from starlette.testclient import TestClient
from stored_tasks import store_state
from taken_messages import take
from web_forms import forms_in, submit
from web_pages import rows_of

from cadasta.workertoolbox.results import TaskStore
from cadasta.workertoolbox.results._database.tables import error_group
from cadasta.workertoolbox.results._monitor.message import read_task
from cadasta.workertoolbox.results._monitor.upserts import write_batch
from cadasta.workertoolbox.results.web import (
    Operator,
    PasswordLogin,
    ProxyLogin,
    create_app,
)
from cadasta.workertoolbox.results.web.access import passwords
from cadasta.workertoolbox.results.web.access.logins import Login
from cadasta.workertoolbox.results.web.operating.forms import MAX_BYTES
from cadasta.workertoolbox.results.web.operating.operator import UnknownRight

PASSWORD = "correct horse battery"
GROUP = "1:0123456789abcdef"


@pytest.fixture(autouse=True, scope="module")
def cheap_hashes() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(passwords._COST, "n", 2)
        yield


@pytest.fixture
def exporter(app: Celery) -> Celery:
    """An app with an empty queue `export`, on a broker in memory."""
    app.amqp.queues.add(Queue("export"))
    take(app)
    return app


@contextmanager
def opened(
    app: Celery | None,
    store: TaskStore,
    login: Login | None = None,
    *,
    peer: str = "127.0.0.1",
    **options: Any,
) -> Iterator[TestClient]:
    operator = Operator(app, **options) if app else None
    pages = create_app(store, login=login, operator=operator)
    with TestClient(
        pages, "http://localhost", client=(peer, 4711), follow_redirects=False
    ) as client:
        yield client


@pytest.fixture
def client(exporter: Celery, store: TaskStore) -> Iterator[TestClient]:
    """A client on this machine, without a login."""
    with opened(exporter, store) as client:
        yield client


def add_group(store: TaskStore) -> None:
    now = datetime.now(UTC)
    row = {
        **{"id": GROUP, "version": 1, "name": "export.project", "sample": "E: no"},
        **{"first_at": now, "last_at": now, "retries": 0, "count": 1, "state": "open"},
    }
    with store.engine.begin() as connection:
        connection.execute(insert(error_group).values(**row))


def fail(store: TaskStore, *ids: str, **headers: Any) -> None:
    """Store messages and failures of tasks."""
    now = datetime.now(UTC)
    sent = {"workertoolbox_published_at": now.isoformat(), **headers}
    records = [read_task(message(id=id, **sent), seen_at=now) for id in ids]
    with store.engine.begin() as connection:
        write_batch(connection, records)
    for id in ids:
        store_state(store, id, "FAILURE", result=b'{"exc_type": "E"}', worker="w@h")


def ended(store: TaskStore, operation_id: str) -> bool:
    """Wait until no task of an operation is left; return whether that is so."""
    found = eventually(
        lambda: store.operation(operation_id).finished_at is not None, True
    )
    return bool(found)


def log_in(client: TestClient, name: str) -> None:
    page = client.get("/login")
    assert submit(client, page, "/login", name=name, password=PASSWORD).is_redirect


def walk(routes: list[BaseRoute]) -> Iterator[Route]:
    for route in routes:
        if isinstance(route, Mount):
            yield from walk(route.routes)
        elif isinstance(route, Route):
            yield route


def writing(app: Starlette) -> set[str]:
    return {
        route.path
        for route in walk(app.routes)
        if not (route.methods or set()) <= {"GET", "HEAD", "OPTIONS"}
    }


def test_no_route_writes_without_an_operator(app: Celery, store: TaskStore) -> None:
    login = PasswordLogin(PASSWORD)
    operator = Operator(app)

    assert writing(create_app(store)) == set()
    assert writing(create_app(store, login=login)) == {"/login", "/logout"}
    changing = writing(create_app(store, operator=operator))
    assert changing == {
        *(f"/errors/{{id}}/{verb}" for verb in ("resolve", "ignore", "reopen")),
        "/rerun",
    }


def test_without_an_operator_the_page_shows_the_command(store: TaskStore) -> None:
    add_group(store)
    with opened(None, store) as client:
        page = client.get(f"/errors/{GROUP}")
        missing = client.get("/rerun?id=1")
        refused = client.post(f"/errors/{GROUP}/resolve")

    assert f"celery -A proj tasks errors resolve {GROUP}" in page.text
    assert "form_token" not in page.text
    assert missing.status_code == 404
    assert refused.status_code == 404
    assert "Not Found" in refused.text


def test_errors_are_resolved_ignored_and_reopened(
    client: TestClient, store: TaskStore, caplog: pytest.LogCaptureFixture
) -> None:
    add_group(store)
    caplog.set_level("INFO")
    seen = []
    for verb in ("resolve", "reopen", "ignore"):
        page = client.get(f"/errors/{GROUP}")
        action = f"/errors/1%3A0123456789abcdef/{verb}"
        done = submit(client, page, action, reason=f" {verb} it " * (verb != "ignore"))
        seen.append((done.headers["location"], store.error_group(GROUP).state))

    changes = store.error_group_changes(GROUP)
    shown = parse(client.get(f"/errors/{GROUP}").text)
    listed = rows_of(parse(client.get("/operations").text))
    one = client.get(f"/operations/{changes[-1].id}").text

    path = "/errors/1:0123456789abcdef"
    by = "anonymous at 127.0.0.1"
    assert [(each.kind, each.made_by, each.reason) for each in changes] == [
        ("ignore", by, None),
        ("reopen", by, "reopen it"),
        ("resolve", by, "resolve it"),
    ]
    facts = [each.text for each in shown.one("dl", class_="pairs").all("dd")]
    assert [text for text in facts if text.startswith(f"resolved by {by}, ")]
    assert [row[2:5] for row in listed] == [
        *(["Errors ignored", by, "–"], ["Errors reopened", by, "–"]),
        ["Errors resolved", by, "–"],
    ]
    assert "Errors resolved" in one and "resolve it" in one and GROUP in one
    assert [state for _, state in seen] == ["resolved", "new", "ignored"]
    assert {location.replace("%3A", ":") for location, _ in seen} == {path}
    assert f"{GROUP}: resolve, by anonymous at 127.0.0.1" in caplog.text


def test_a_form_is_only_taken_from_a_page_of_the_same_session(
    client: TestClient, store: TaskStore
) -> None:
    add_group(store)
    page = client.get(f"/errors/{GROUP}")
    action = "/errors/1%3A0123456789abcdef/resolve"
    form = forms_in(page.text)[action]
    own = {"origin": "http://localhost"}
    answers = [
        client.post(action, data=form),
        client.post(action, data=form, headers={"origin": "http://evil.example"}),
        client.post(action, data=form, headers={"origin": "null"}),
        client.post(action, data=form, headers={"sec-fetch-site": "same-site"}),
        client.post(action, data={**form, "form_token": ""}, headers=own),
        client.post(action, data={**form, "form_token": "A" * 88}, headers=own),
    ]
    client.cookies.clear()
    answers.append(client.post(action, data=form, headers=own))

    assert [each.status_code for each in answers] == [403] * len(answers)
    assert store.error_group(GROUP).state == "new"


def test_a_form_that_is_too_large_or_no_form_is_refused(client: TestClient) -> None:
    own = {"origin": "http://localhost"}
    large = client.post("/rerun", data={"ids": "x" * MAX_BYTES}, headers=own)
    other = client.post("/rerun", json={"ids": []}, headers=own)

    assert large.status_code == 413
    assert other.status_code == 415


def test_users_of_other_machines_only_look_without_a_login(
    exporter: Celery, store: TaskStore
) -> None:
    add_group(store)
    fail(store, "1")
    with opened(exporter, store, peer="10.0.0.9") as client:
        page = client.get(f"/errors/{GROUP}")
        refused = client.get("/rerun?id=1")

    assert "tasks errors resolve" in page.text
    assert refused.status_code == 403


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"x-forwarded-for": "203.0.113.9"}, 403),
        ({"x-forwarded-host": "tasks.example.com"}, 403),
        ({"forwarded": "for=203.0.113.9"}, 403),
        ({"via": "1.1 proxy"}, 403),
        ({"host": "evil.example:8555"}, 403),
        ({"host": "127.0.0.1.evil.example"}, 403),
        ({"host": "127.0.0.1:8555"}, 200),
        ({"host": "[::1]:8555"}, 200),
    ],
)
def test_without_a_login_only_requests_for_this_machine_itself_may_change_something(
    client: TestClient, store: TaskStore, headers: dict[str, str], status: int
) -> None:
    fail(store, "1")

    assert client.get("/rerun?id=1", headers=headers).status_code == status


def test_each_right_is_checked(exporter: Celery, store: TaskStore) -> None:
    add_group(store)
    fail(store, "1")
    own = {"origin": "http://localhost"}
    with opened(exporter, store, rights=["errors"]) as client:
        token = forms_in(client.get(f"/errors/{GROUP}").text)
        form = token["/errors/1%3A0123456789abcdef/resolve"]
        refused = [
            client.get("/rerun?id=1"),
            client.post("/rerun", data=form, headers=own),
        ]
    with opened(exporter, store, rights=["rerun"]) as client:
        form = forms_in(client.get("/rerun?id=1").text)["/rerun"]
        action = f"/errors/{GROUP}/resolve"
        refused.append(client.post(action, data=form, headers=own))

    assert [each.status_code for each in refused] == [403] * 3
    assert "--allow rerun" in refused[0].text
    assert store.error_group(GROUP).state == "new"


def test_unknown_rights_are_refused(app: Celery) -> None:
    with pytest.raises(UnknownRight, match="errors, rerun"):
        Operator(app, rights=["purge"])


def test_a_token_of_a_program_changes_nothing(
    exporter: Celery, store: TaskStore
) -> None:
    headers = {
        "authorization": f"Bearer {PASSWORD}",
        "origin": "http://localhost",
    }
    with opened(exporter, store, PasswordLogin(PASSWORD)) as client:
        response = client.post("/rerun", data={"ids": "[]"}, headers=headers)

    assert response.status_code == 403


def test_tasks_are_run_again_after_their_number_is_confirmed(
    exporter: Celery, store: TaskStore
) -> None:
    fail(store, "1", "2")
    store_state(store, "3", "FAILURE", name="export.project")
    with opened(exporter, store, PasswordLogin(PASSWORD)) as client:
        log_in(client, "ann")
        page = client.get("/rerun?query=status:failure&since=1h")
        reason = {"reason": "the server was down"}
        wrong = submit(client, page, "/rerun", count="3", **reason)
        silent = submit(client, page, "/rerun", count="2", reason=" ")
        before = [*store.operations()]
        done = submit(client, wrong, "/rerun", count=" 2 ", **reason)
        [operation] = store.operations()
        assert ended(store, operation.id)
        shown = client.get(done.headers["location"])
        listed = client.get("/operations")
        again = client.get("/rerun?query=status:failure&since=1h")

    assert "Run 2 tasks again" in page.text
    assert "no monitor has seen its message" in page.text
    assert wrong.status_code == silent.status_code == 409 and not before
    assert "Type 2 to confirm" in wrong.text
    assert "the server was down" in wrong.text
    assert operation.made_by == "ann at 127.0.0.1"
    assert operation.reason == "the server was down"
    assert operation.selection.startswith("status:failure since 20")
    assert [json.loads(each.body)[0] for each in take(exporter)] == [["a"], ["a"]]
    assert done.headers["location"] == f"/operations/{operation.id}"
    assert "data-refresh" not in shown.text
    assert f'href="/operations/{operation.id}"' in listed.text
    assert "None of these tasks can be run again" in again.text
    assert "again=yes" in again.text


def test_a_preview_that_is_out_of_date_is_shown_again(
    client: TestClient, store: TaskStore
) -> None:
    fail(store, "1", "2")
    pages = [client.get("/rerun?id=1&id=2") for _ in range(2)]
    fields = {"count": "2", "reason": "r"}
    first, second = (submit(client, each, "/rerun", **fields) for each in pages)
    [operation] = store.operations()
    assert ended(store, operation.id)

    assert first.is_redirect
    assert second.status_code == 409
    assert "another number of tasks" in second.text


@pytest.mark.parametrize("query", ["id=1&id=2", "id=1&id=2&again=yes"])
def test_a_form_that_is_sent_twice_begins_one_operation(
    client: TestClient, store: TaskStore, exporter: Celery, query: str
) -> None:
    fail(store, "1", "2")
    page = client.get(f"/rerun?{query}")
    answers: list[Response] = []

    def send() -> None:
        answers.append(submit(client, page, "/rerun", count="2", reason="r"))

    @event.listens_for(store.engine, "before_cursor_execute")
    def click_again(_: Any, __: Any, statement: str, *___: Any) -> None:
        if statement.startswith("INSERT INTO workertoolbox_operation ") and clicks:
            clicks.pop()()

    clicks = [send]
    send()
    send()
    [operation] = store.operations()
    assert ended(store, operation.id)

    target = f"/operations/{operation.id}"
    assert [each.headers.get("location") for each in answers] == [target] * 3
    assert len(take(exporter)) == 2


def test_the_failed_steps_of_a_workflow_are_run_again_with_those_after_them(
    client: TestClient, store: TaskStore, exporter: Celery
) -> None:
    after = {"task": "export.next", "options": {"task_id": "9"}, "args": []}
    body = [["a"], {}, {"callbacks": None, "chain": [after]}]
    now = datetime.now(UTC)
    record = read_task(message(body, id="1", root_id="1"), seen_at=now)
    with store.engine.begin() as connection:
        write_batch(connection, [record])
    store_state(store, "1", "FAILURE", result=b'{"exc_type": "E"}', worker="w@h")
    page = client.get("/rerun?root=1")
    done = submit(client, page, "/rerun", count="1", reason="r")
    [operation] = store.operations()
    assert ended(store, operation.id)
    [sent] = take(exporter)

    assert done.is_redirect
    assert operation.kind == "failed-steps"
    assert json.loads(sent.body)[2]["chain"][0]["task"] == "export.next"


@pytest.mark.parametrize(
    ("query", "status"),
    [("", 400), ("id=unknown", 404), ("root=unknown", 404), ("query=status:", 400)],
)
def test_a_rerun_of_unknown_tasks_is_a_page_that_says_so(
    client: TestClient, query: str, status: int
) -> None:
    assert client.get(f"/rerun?{query}").status_code == status


@pytest.mark.parametrize(
    "ids", ["", "{}", "[1]", json.dumps(["1"] * 501), "[" * 80_000]
)
def test_a_changed_form_is_refused(
    client: TestClient, store: TaskStore, ids: str
) -> None:
    fail(store, "1")
    page = client.get("/rerun?id=1")
    response = submit(client, page, "/rerun", ids=ids, count="1", reason="r")

    assert response.status_code == 400


def test_an_operation_that_stops_says_why(client: TestClient, store: TaskStore) -> None:
    fail(store, "1")
    page = client.get("/rerun?id=1")

    @event.listens_for(store.engine, "before_cursor_execute")
    def refuse(_: Any, cursor: Any, statement: str, *__: Any) -> None:
        if statement.startswith("UPDATE workertoolbox_operation_task"):
            cursor.execute("SELECT gone FROM nothing")

    done = submit(client, page, "/rerun", count="1", reason="r")
    path = done.headers["location"]
    assert eventually(lambda: 'role="alert"' in client.get(path).text, True)
    shown = client.get(path).text

    assert "nothing" in shown
    assert "data-refresh" not in shown


def test_a_role_that_may_only_read_gets_one_clear_sentence(
    client: TestClient, store: TaskStore
) -> None:
    add_group(store)
    fail(store, "1")
    pages = [client.get(f"/errors/{GROUP}"), client.get("/rerun?id=1")]

    @event.listens_for(store.engine, "checkout")
    def only_read(connection: Any, *_: Any) -> None:
        connection.execute("PRAGMA query_only = ON")

    resolved = submit(client, pages[0], "/errors/1%3A0123456789abcdef/resolve")
    rerun = submit(client, pages[1], "/rerun", count="1", reason="r")

    assert resolved.status_code == rerun.status_code == 403
    assert "a role with the privileges of a purger" in resolved.text
    assert "a role with the privileges of an operator" in rerun.text


def test_the_user_whom_a_proxy_names_is_stored(
    exporter: Celery, store: TaskStore
) -> None:
    fail(store, "1")
    login = ProxyLogin("X-User", ["127.0.0.1"])
    with opened(exporter, store, login) as client:
        client.headers["x-user"] = "ann"
        page = client.get("/rerun?id=1")
        client.headers["x-user"] = "ben"
        refused = submit(client, page, "/rerun", count="1", reason="r")
        page = client.get("/rerun?id=1")
        assert submit(client, page, "/rerun", count="1", reason="r").is_redirect

    assert refused.status_code == 403
    [operation] = store.operations()
    assert operation.made_by == "ben at 127.0.0.1"
    assert ended(store, operation.id)

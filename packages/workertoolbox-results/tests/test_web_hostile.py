"""Names, arguments and tracebacks full of markup, escapes and marks stay text."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser
from typing import Any
from urllib.parse import quote

import pytest
from celery import Celery
from messages import message
from sqlalchemy import insert
from starlette.routing import BaseRoute, Mount, Route
from starlette.testclient import TestClient
from stored_tasks import store_ended, store_state

from cadasta.workertoolbox.results import TaskStore
from cadasta.workertoolbox.results._database.tables import (
    error_group,
    operation,
    operation_task,
    quarantine,
)
from cadasta.workertoolbox.results._monitor.message import read_task
from cadasta.workertoolbox.results._monitor.upserts import write_batch
from cadasta.workertoolbox.results.web import Operator, create_app

#: An element, an attribute, a script and a template, if they were not escaped; the
#: escape of a terminal; marks that reverse and hide text.
HOSTILE = (
    "<hostile onclick=alert(1)>\"'><script>alert(1)</script>"
    "</pre></title>{{ 8191 * 8191 }}\x1b[31m\u202eabc\u2066\u200b&lt;"
)

#: Characters of it that no page may contain as they are.
INVISIBLE = "\x1b\u202e\u2066\u200b"

KEY = "1:0123456789abcdef"
ID = f"id{HOSTILE}"


class Finder(HTMLParser):
    """Finds what the content security policy forbids, and elements from texts."""

    def __init__(self) -> None:
        super().__init__()
        self.faults: list[str] = []
        self._in_script = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        names = [name for name, _ in attrs]
        self.faults += (
            f"{tag} {name}"
            for name in names
            if name.startswith(("on", "hx-on")) or name == "style"
        )
        self.faults += [tag] * (tag in ("hostile", "style", "iframe", "object", "base"))
        for name, value in attrs:
            is_link = name in ("href", "src", "action", "hx-get")
            if is_link and not (value or "").startswith(("/", "#", "?")):
                self.faults.append(f"{tag} {name}={value}")
        if tag == "script":
            self._in_script = True
            self.faults += ["a script without src"] * ("src" not in names)

    def handle_endtag(self, tag: str) -> None:
        self._in_script = self._in_script and tag != "script"

    def handle_data(self, data: str) -> None:
        if self._in_script and data.strip():
            self.faults.append(f"script: {data}")


@pytest.fixture
def client(app: Celery, store: TaskStore) -> Iterator[TestClient]:
    fill(store)
    pages = create_app(store, operator=Operator(app))
    with TestClient(pages, "http://localhost", client=("127.0.0.1", 1)) as client:
        yield client


def fill(store: TaskStore) -> None:
    """Store hostile texts in every place that a message or a worker can write."""
    now = datetime.now(UTC)
    headers: dict[str, Any] = {
        **{"task": HOSTILE, "root_id": ID, "group": HOSTILE, "origin": HOSTILE},
        **{"stamps": {HOSTILE: HOSTILE}, "shadow": HOSTILE, HOSTILE: HOSTILE},
        "workertoolbox_published_at": now.isoformat(),
    }
    body = [[HOSTILE], {HOSTILE: HOSTILE}, {}]
    sent = [
        message(body, id=id, routing_key=HOSTILE, parent_id=parent, **headers)
        for id, parent in ((ID, None), ("2", ID), ("3", ID))
    ]
    records = [read_task(each, seen_at=now) for each in sent]
    failed: dict[str, Any] = {
        "result": json.dumps({"exc_type": HOSTILE, "exc_message": HOSTILE}).encode(),
        "traceback": f"Traceback\n  File {HOSTILE}\n{HOSTILE}",
        "worker": HOSTILE,
    }
    with store.engine.begin() as connection:
        write_batch(connection, records)
    store_state(store, ID, "FAILURE", **failed)
    store_state(store, "2", HOSTILE, worker=HOSTILE, result=b'"x"')
    store_ended(store, "4", name=HOSTILE, queue=HOSTILE, worker=HOSTILE)
    rows = {
        error_group: {
            **{"id": KEY, "version": 1, "name": HOSTILE, "sample": HOSTILE},
            **{"type": HOSTILE, "place": HOSTILE, "first_at": now, "last_at": now},
            **{"retries": 0, "count": 1, "state": "open", "last_task_id": ID},
        },
        operation: {
            **{"id": "op", "kind": "rerun", "made_by": HOSTILE, "reason": HOSTILE},
            **{"selection": HOSTILE, "tasks": 1, "started_at": now},
        },
        operation_task: {
            **{"operation_id": "op", "task_id": ID, "position": 0, "name": HOSTILE},
            **{"new_id": HOSTILE, "state": "published", "note": HOSTILE},
            "changed_at": now,
        },
        quarantine: {
            **{"reason": HOSTILE, "headers": {HOSTILE: HOSTILE}},
            **{"body": HOSTILE.encode(), "seen_at": now, "digest": "0" * 32},
        },
    }
    with store.engine.begin() as connection:
        for table, row in rows.items():
            connection.execute(insert(table).values(**row))


def pages(client: TestClient) -> Sequence[str]:
    """Return the paths of all pages, with hostile parts and parameters."""
    parts = {"{id:path}": quote(ID, safe=""), "{id}": "op"}
    found = set()

    def walk(routes: Sequence[BaseRoute], prefix: str) -> None:
        for route in routes:
            if isinstance(route, Mount) and route.name != "static":
                walk(route.routes, prefix + route.path)
            elif isinstance(route, Route) and "GET" in (route.methods or ()):
                path = prefix + route.path
                for name, value in parts.items():
                    path = path.replace(name, value)
                found.add(path)

    walk(client.app.routes, "")  # type: ignore[attr-defined]
    shown = sorted(path for path in found if not path.startswith("/api/"))
    query = quote(HOSTILE, safe="")
    with_query = [f"{path}?query={query}&name={query}&since=7d" for path in shown]
    since = quote((datetime.now(UTC) - timedelta(days=1)).isoformat(), safe="")
    others = [
        f"/errors/{quote(KEY)}",
        f"/rerun?id={quote(ID, safe='')}",
        f"/rerun?root={quote(ID, safe='')}",
        f"/errors?state={query}",
        f"/?since={query}",
        f"/tasks?page={query}&since={since}",
        f"/tasks/{query}",
        f"/workflows/{query}",
        f"/{query}",
    ]
    return [*shown, *with_query, *others]


def test_hostile_texts_stay_texts_on_every_page(client: TestClient) -> None:
    checked = 0
    wrong = {}
    for path in pages(client):
        response = client.get(path)
        assert response.status_code < 500, path
        if not response.headers["content-type"].startswith("text/html"):
            continue
        checked += 1
        finder = Finder()
        finder.feed(response.text)
        faults = [*finder.faults]
        faults += (repr(each) for each in INVISIBLE if each in response.text)
        faults += ["a template was rendered"] * ("67092481" in response.text)
        if faults:
            wrong[path] = faults

    assert wrong == {}
    assert checked > 25


def test_what_is_hostile_is_shown(client: TestClient) -> None:
    shown = ("/tasks?since=all", f"/errors/{KEY}", "/operations/op", "/errors")
    for path in shown:
        assert "&lt;hostile onclick=alert(1)&gt;" in client.get(path).text, path


def test_redacted_arguments_are_on_no_page(app: Celery, store: TaskStore) -> None:
    body = [["a"], {"password": "s3cr3t-value", "order": 7}, {}]
    sent = message(body, id="1", password="s3cr3t-value")
    with store.engine.begin() as connection:
        write_batch(connection, [read_task(sent, seen_at=datetime.now(UTC))])
    store_state(store, "1", "FAILURE", result=b'{"exc_type": "E"}')
    pages = create_app(store, operator=Operator(app))
    with TestClient(pages, "http://localhost", client=("::1", 1)) as client:
        texts = [client.get(path).text for path in ("/tasks/1", "/rerun?id=1")]

    assert "order" in texts[0]
    assert not any("s3cr3t" in text for text in texts)

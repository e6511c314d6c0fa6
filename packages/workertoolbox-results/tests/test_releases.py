"""The versions of services: what workers and monitors store, and queries return."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import pytest
from celery import Celery
from messages import message
from sqlalchemy import event, text
from stored_tasks import MINUTE
from web_pages import open_app

from cadasta.workertoolbox.results import Redaction, TaskStore
from cadasta.workertoolbox.results._backend.release import record_release
from cadasta.workertoolbox.results._headers import (
    PUBLISHED_AT,
    SERVICE,
    SERVICE_VERSION,
)
from cadasta.workertoolbox.results._monitor.own_headers import MAX_VERSION_LENGTH
from cadasta.workertoolbox.results._monitor.releases import MAX_KNOWN
from cadasta.workertoolbox.results._monitor.writer import Writer
from cadasta.workertoolbox.results.backend import Backend


def make_writer(store: TaskStore) -> Writer:
    return Writer(
        store.engine,
        redaction=Redaction(),
        max_bytes=1000,
        on_commit=lambda batch: None,
        should_stop=lambda: False,
    )


def write(writer: Writer, *versions: object, at: datetime) -> None:
    """Write messages of versions of the service `shop`."""
    sent: dict[str, Any] = {SERVICE: "shop", PUBLISHED_AT: at.isoformat()}
    messages = [
        message(**{**sent, "id": str(number), SERVICE_VERSION: version})
        for number, version in enumerate(versions)
    ]
    assert writer.write(messages)


def found(store: TaskStore) -> Sequence[tuple[str | None, str, datetime]]:
    releases = store.releases(limit=2 * MAX_KNOWN)
    return [(each.service, each.version, each.first_at) for each in releases]


def test_a_worker_stores_its_version_once(
    app: Celery,
    backend: Backend,
    store: TaskStore,
    now: datetime,
    caplog: pytest.LogCaptureFixture,
) -> None:
    app.conf.SERVICE_VERSION = "1.4.0"
    record_release(app, backend.database)
    [first] = store.releases()
    record_release(app, backend.database)

    assert store.releases() == [first]
    assert not caplog.messages
    assert (first.service, first.version) == ("tests", "1.4.0")
    assert now <= first.first_at <= now + MINUTE


def test_an_app_without_a_version_stores_none(
    app: Celery, backend: Backend, store: TaskStore
) -> None:
    record_release(app, backend.database)

    assert not store.releases()


def test_a_worker_that_cannot_store_its_version_logs_one_line(
    app: Celery, backend: Backend, caplog: pytest.LogCaptureFixture
) -> None:
    app.conf.SERVICE_VERSION = "1.4.0"
    with backend.database.connect() as connection:
        connection.execute(text("DROP TABLE workertoolbox_release"))
    with caplog.at_level(logging.WARNING):
        record_release(app, backend.database)

    [line] = caplog.messages
    assert "will not mark version 1.4.0" in line
    assert line.endswith("run `celery -A … tasks upgrade`")


def test_a_version_appears_with_its_first_message_in_any_order(
    store: TaskStore, now: datetime
) -> None:
    writers = [make_writer(store) for _ in range(2)]
    write(writers[0], "1.4.0", None, at=now)
    write(writers[1], "1.4.0", 5, "", at=now - 2 * MINUTE)
    write(writers[0], "1.4.0", "1.3.0", at=now - MINUTE)
    write(writers[0], "x" * 200, at=now - 3 * MINUTE)

    assert found(store) == [
        ("shop", "1.3.0", now - MINUTE),
        ("shop", "1.4.0", now - 2 * MINUTE),
        ("shop", "x" * MAX_VERSION_LENGTH, now - 3 * MINUTE),
    ]


def test_a_monitor_writes_a_version_once(store: TaskStore, now: datetime) -> None:
    writer, statements = make_writer(store), list[str]()

    def record(*args: object) -> None:
        statements.extend(str(each) for each in args if "release" in str(each)[:40])

    event.listen(store.engine, "before_cursor_execute", record)
    for number in range(3):
        write(writer, "1.4.0", at=now + number * MINUTE)
    # Anybody who can publish can invent versions: a monitor does not keep all of them.
    write(writer, *(f"0.{number}" for number in range(MAX_KNOWN)), at=now)
    write(writer, "1.4.0", at=now)

    assert len(statements) == 3
    assert ("shop", "1.4.0", now) in found(store)


def test_versions_of_a_window_are_returned_newest_first(
    store: TaskStore, now: datetime
) -> None:
    writer = make_writer(store)
    for number in range(4):
        write(writer, f"1.{number}", at=now - number * MINUTE)

    def versions(**window: object) -> list[str]:
        return [each.version for each in store.releases(**window)]  # type: ignore[arg-type]

    assert versions() == ["1.0", "1.1", "1.2", "1.3"]
    assert versions(since=now - 2 * MINUTE, until=now) == ["1.1", "1.2"]
    assert versions(limit=1) == ["1.0"]
    with open_app(store) as client:
        answer = client.get("/api/v1/releases", params={"limit": 1}).json()
    assert answer == {
        "items": [{"service": "shop", "version": "1.0", "first_at": now.isoformat()}]
    }

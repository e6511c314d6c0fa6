"""The page `/health`, and what the store says of the health of a database."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from messages import message
from starlette.testclient import TestClient
from stored_tasks import MINUTE, publish
from web_pages import open_app, page_of, rows_of

from cadasta.workertoolbox.results import (
    Completeness,
    DaySize,
    Health,
    MonitorReport,
    Retention,
    RetentionClass,
    Storage,
    TableSize,
    TaskStore,
)
from cadasta.workertoolbox.results._database.schema import HEAD_REVISION
from cadasta.workertoolbox.results._history.backlog import sample_backlog
from cadasta.workertoolbox.results._history.ended_tasks import ArchiveOptions
from cadasta.workertoolbox.results._history.horizon import report_progress
from cadasta.workertoolbox.results._monitor.archiving import Archiving
from cadasta.workertoolbox.results._monitor.quarantine_record import quarantine_record
from cadasta.workertoolbox.results._monitor.upserts import write_batch
from cadasta.workertoolbox.results.web.pages import health as health_page
from cadasta.workertoolbox.results.web.wording.health_checks import checks_of


@pytest.fixture
def client(store: TaskStore) -> Iterator[TestClient]:
    with open_app(store) as client:
        yield client


def test_an_empty_database_says_what_to_start(
    client: TestClient, store: TaskStore
) -> None:
    page = page_of(client, "/health")
    found = store.health()

    assert (found.monitors, found.newest, found.sampled_at) == ([], None, None)
    assert (found.revision, found.head_revision) == (HEAD_REVISION, HEAD_REVISION)
    assert (found.quarantined, found.retention) == (0, [])
    assert "No archiver has said yet how long it keeps tasks." in page.text
    words = [each.text for each in page.one("ul", class_="checks").all("li")]
    assert words[0].startswith("fault Monitors No monitor has reported within a day.")
    assert words[1].startswith("warning Archiver No archiver has run yet")
    assert "celery -A proj tasks monitor" in page.text
    assert page.one(id="health").attributes["data-refresh"] == "30"


def test_monitors_the_archiver_and_the_quarantine_are_shown(
    store: TaskStore, client: TestClient, now: datetime
) -> None:
    publish(store, "export", "1", at=now - MINUTE)
    unread = quarantine_record(message(b"{"), reason="x", seen_at=now)
    with store.engine.begin() as connection:
        report_progress(connection, "4711@web-1-5f0c", read_until=now, now=now)
        earlier = now - timedelta(hours=2)
        report_progress(connection, "5f0c", read_until=None, now=earlier)
        sample_backlog(connection, now)
        write_batch(connection, [unread])
    page = page_of(client, "/health")
    found = store.health()

    assert [(each.host, each.pid, each.is_running) for each in found.monitors] == [
        ("web-1", 4711, True),
        (None, None, False),
    ]
    assert found.sampled_at == now.replace(second=0)
    assert found.newest is not None
    assert found.newest.scheduled_at == now - MINUTE
    assert found.quarantined == 1
    assert [row[:2] for row in rows_of(page)] == [
        ["web-1, process 4711", "running"],
        ["5f0c", "stopped"],
    ]
    checks = {each.title: each for each in checks_of(found)}
    assert {title: each.tone for title, each in checks.items()} == {
        "Monitors": "good",
        "Messages": "good",
        "Archiver": "good",
        "Quarantine": "warn",
        "Schema": "good",
    }
    assert checks["Quarantine"].sentence.startswith("1 message is in quarantine")


def test_sqlite_knows_the_size_of_its_file(
    store: TaskStore, client: TestClient
) -> None:
    storage = store.health().storage

    assert (storage.dialect, storage.role, storage.can_write) == ("sqlite", None, None)
    assert storage.bytes > 100_000
    assert (storage.tables, storage.days) == ((), ())
    assert (
        "SQLite does not know the sizes of single tables"
        in page_of(client, "/health").text
    )


def keep_tasks(store: TaskStore, **ages: str | None) -> None:
    """Run an archiver with a setting `RETENTION`."""
    options = ArchiveOptions(retention=Retention(ages))
    Archiving(store.engine, options, should_stop=lambda: False).run_once()


def test_the_retention_is_the_one_that_the_last_archiver_applies(
    store: TaskStore, client: TestClient
) -> None:
    keep_tasks(store, default="90d", FAILURE="25h", **{"export.ping": None})
    first = rows_of(page_of(client, "/health"))
    keep_tasks(store, FAILURE="1d")
    kept = client.get("/api/v1/health").json()["retention"]

    assert first == [
        ["default", "90 days"],
        ["FAILURE", "2 days"],
        ["export.ping", "no limit"],
    ]
    assert [(each["keep"], each["days"]) for each in kept] == [
        ("default", None),
        ("FAILURE", 1),
    ]
    assert all(each["applied_at"] for each in kept)


NOW = datetime(2026, 3, 2, 12, tzinfo=UTC)

GOOD = Health(
    revision=HEAD_REVISION,
    head_revision=HEAD_REVISION,
    monitors=[
        MonitorReport(id="a", read_until=NOW, reported_at=NOW, is_running=True),
    ],
    completeness=Completeness(at=NOW, read_until=NOW, archived_until=NOW),
    newest=None,
    sampled_at=NOW,
    quarantined=0,
    storage=Storage(
        dialect="postgresql",
        server_version="15.4",
        role="reader",
        can_write=False,
        is_replica=False,
        bytes=3000,
        tables=[TableSize("workertoolbox_history", 3000, None)],
        days=[
            DaySize("FAILURE", date(2026, 3, 2), 1000, 7),
            DaySize("default", date(2026, 3, 2), 1500, None),
            DaySize("default", date(2026, 3, 1), 500, 1),
        ],
    ),
)
KEPT = RetentionClass(
    keep="default",
    days=90,
    applied_at=NOW,
    stored_days=2,
    oldest_day=date(2025, 11, 30),
    bytes=2000,
)
HOUR = timedelta(hours=1)


@pytest.mark.parametrize(
    ("title", "changes", "tone", "sentence"),
    [
        ("Monitors", {}, "good", "1 monitor runs."),
        (
            "Monitors",
            {
                "monitors": [
                    replace(GOOD.monitors[0], reported_at=NOW - HOUR, is_running=False)
                ]
            },
            "bad",
            "No monitor runs: the last one reported 1.0 h ago.",
        ),
        (
            "Messages",
            {"completeness": replace(GOOD.completeness, read_until=NOW - HOUR)},
            "warn",
            "All messages until 1.0 h ago are stored.",
        ),
        (
            "Archiver",
            {"completeness": replace(GOOD.completeness, archived_until=NOW - HOUR)},
            "warn",
            "All tasks that ended until 1.0 h ago are archived.",
        ),
        (
            "Archiver",
            {"sampled_at": NOW - HOUR - MINUTE},
            "warn",
            "No archiver has taken a sample for 1.0 h.",
        ),
        ("Quarantine", {"quarantined": 10_000}, "warn", "10,000 or more messages are"),
        (
            "Retention",
            {"retention": [replace(KEPT, oldest_day=date(2025, 11, 29)), KEPT]},
            "warn",
            "Tasks of default that ended on 2025-11-29 are older than 90 days.",
        ),
        ("Schema", {"revision": "9999"}, "warn", "The schema has revision 9999"),
        ("Role", {}, "good", "reader may only read."),
        (
            "Role",
            {"storage": replace(GOOD.storage, can_write=True)},
            "warn",
            "reader may change tables.",
        ),
    ],
)
def test_each_check_says_what_is_wrong(
    title: str, changes: dict[str, Any], tone: str, sentence: str
) -> None:
    [check] = [
        each for each in checks_of(replace(GOOD, **changes)) if each.title == title
    ]

    assert check.tone == tone
    assert check.sentence.startswith(sentence)


def test_days_are_shown_with_their_classes_together(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = health_page.by_day(GOOD)
    bars = [*health_page.charted([first, second], NOW)]

    assert (first.day, first.bytes, first.rows) == (date(2026, 3, 2), 2500, 7)
    assert first.keeps == ["FAILURE", "default"]
    assert (second.bytes, second.keeps) == (500, ["default"])
    assert bars[-3:] == [None, 500.0, 2500.0]
    assert GOOD.as_json()["storage"]["days"][0]["day"] == "2026-03-02"

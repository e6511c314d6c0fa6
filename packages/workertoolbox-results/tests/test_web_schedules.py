"""The page `/schedules`."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
from messages import message
from starlette.testclient import TestClient
from stored_tasks import MINUTE, store_ended, store_state
from web_pages import (
    HOSTILE,
    SHOWN_HOSTILE,
    filled_store,
    hrefs_of,
    open_app,
    page_of,
    rows_of,
)

from cadasta.workertoolbox.results import ScheduledRun, TaskStore
from cadasta.workertoolbox.results._monitor.message import read_task
from cadasta.workertoolbox.results._monitor.upserts import write_batch
from cadasta.workertoolbox.results._schedules.runs import MAX_KEPT
from cadasta.workertoolbox.results.web.answers import fleet


def send(store: TaskStore, entry: str, sent_at: datetime, **run: Any) -> str:
    """Store the message of a run of an entry; return the id of its task."""
    id = f"{entry} {sent_at:%d-%H:%M}"
    described = {"schedule": "30 2 * * *", "timezone": "UTC", "entry": entry, "id": id}
    headers: dict[str, Any] = {
        **{"id": id, "root_id": id, "task": f"export.{entry}"},
        "workertoolbox_service": "billing",
        "workertoolbox_published_at": sent_at.isoformat(),
        "workertoolbox_beat": {
            **described,
            "due_at": (sent_at - timedelta(seconds=3)).isoformat(),
            "next_at": (sent_at + timedelta(days=1)).isoformat(),
            "started_at": (sent_at - timedelta(days=90)).isoformat(),
            **run,
        },
    }
    record = read_task(message(**headers), seen_at=sent_at)
    with store.engine.begin() as connection:
        write_batch(connection, [record])
    return id


@pytest.fixture(scope="module")
def store(
    template: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[TaskStore]:
    with filled_store(template, tmp_path_factory.mktemp("schedules")) as store:
        now = datetime.now(UTC)
        for days in range(30, -1, -1):
            at = now - timedelta(days=days, minutes=5)
            if days == 4:
                continue
            id = send(store, "nightly", at)
            if days == 3:
                started = {"started_at": at, "worker": "w@host"}
                store_ended(
                    store, id, at=at + MINUTE, status="FAILURE", name="x", **started
                )
                with store.engine.begin() as connection:
                    connection.exec_driver_sql(
                        "DELETE FROM workertoolbox_task WHERE id = ?", (id,)
                    )
            elif days == 2:
                store_state(store, id, "SUCCESS", at=at + MINUTE, started_at=at)
            elif days == 1:
                with store.engine.begin() as connection:
                    connection.exec_driver_sql(
                        "DELETE FROM workertoolbox_task WHERE id = ?", (id,)
                    )
        late = now - timedelta(hours=3)
        send(store, HOSTILE, late, next_at=(now - timedelta(hours=2)).isoformat())
        yield store


@pytest.fixture(scope="module")
def client(store: TaskStore) -> Iterator[TestClient]:
    with open_app(store) as client:
        yield client


def runs_of(store: TaskStore, entry: str) -> list[ScheduledRun]:
    entries = [each for each in store.schedules() if each.entry == entry]
    [runs] = store.schedule_runs(entries)
    return [*runs]


def test_the_store_returns_the_latest_runs_with_their_states(store: TaskStore) -> None:
    runs = runs_of(store, "nightly")
    failed, succeeded, purged, last = runs[-4:]

    assert len(runs) == MAX_KEPT
    assert [each.sent_at for each in runs] == sorted(each.sent_at for each in runs)
    assert (failed.status, failed.run_s, failed.missed) == ("FAILURE", 60, 1)
    assert (succeeded.status, succeeded.run_s) == ("SUCCESS", 60)
    assert (purged.status, purged.run_s) == (None, None)
    assert (last.status, last.late_s, last.doubled) == ("QUEUED", 3, False)
    assert last.as_json()["sent_at"] == last.sent_at.isoformat()
    assert store.schedule_runs([]) == []


def test_an_entry_is_shown_in_words_with_its_last_and_next_run(
    client: TestClient,
) -> None:
    page = page_of(client, "/schedules")
    rows = {row[0]: row for row in rows_of(page)}
    nightly = rows["nightlyexport.nightlybilling"]

    assert nightly[1] == "every day at 02:30UTC"
    assert nightly[2].startswith("5.")
    assert "QUEUED3.0 s late" in nightly[2]
    assert nightly[3] == "in 23.9 h"
    assert nightly[5].startswith("1")
    overdue = rows[f"{SHOWN_HOSTILE}export.{SHOWN_HOSTILE}billing"]
    assert overdue[3].endswith("overdue")


def test_each_run_is_a_mark_with_a_text_that_links_to_its_task(
    client: TestClient, store: TaskStore
) -> None:
    page = page_of(client, "/schedules")
    marks = page.all("ol", class_="dots")[-1].all("a")
    runs = runs_of(store, "nightly")

    ids = [unquote(each.attributes["href"]) for each in marks]
    assert ids == [f"/tasks/{each.task_id}" for each in runs]
    label = marks[-4].attributes["aria-label"]
    assert label.startswith("FAILURE, sent ")
    assert label.endswith(", 3.0 s late, ran 1.0 min; 1 missed before")
    assert marks[-4].attributes["class"] == "missed"
    assert marks[-2].attributes["aria-label"].startswith("not known any more, sent ")
    shapes = [each.one("use").attributes["href"] for each in marks[-4:]]
    assert shapes == ["#mark-bad", "#mark-good", "#mark-unknown", "#mark-waiting"]
    for shape in shapes:
        page.one("symbol", id=shape.removeprefix("#"))


def test_entries_can_be_chosen(client: TestClient) -> None:
    page = page_of(client, "/schedules?show=overdue")
    failed = page_of(client, "/schedules?show=failed")
    unknown = page_of(client, "/schedules?show=<b>")

    assert len(rows_of(page)) == 1
    assert hrefs_of(page.one("nav", class_="bar")) == {
        "all 2": "/schedules",
        "overdue 1": "/schedules?show=overdue",
        "last run failed 0": "/schedules?show=failed",
        "removed 0": "/schedules?show=removed",
    }
    assert "No last run of an entry has failed." in failed.one(class_="empty").text
    assert len(rows_of(unknown)) == 2


def test_a_long_list_of_entries_is_cut_and_says_so(
    store: TaskStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fleet, "MAX_ENTRIES", 1)
    with open_app(store) as client:
        page = page_of(client, "/schedules")

    assert len(rows_of(page)) == 1
    assert "1 more entries are left out" in page.text

"""The generated week of the demo, on both databases."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest

from cadasta.workertoolbox.results import TaskStore
from export_demo.week import has_week
from servers.postgresql import PostgreSQL
from support.web_pages import find_pages, write_week

#: A share of the tasks with everything that is special about the week.
SHARE = 0.04


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def store(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[TaskStore]:
    """A database with a week."""
    if request.param == "sqlite":
        url = f"sqlite:///{tmp_path_factory.mktemp('week') / 'week.sqlite'}"
        write_week(url, share=SHARE)
        with TaskStore(url) as store:
            yield store
        return
    server: PostgreSQL = request.getfixturevalue("postgresql")
    with server.database() as url:
        write_week(url, share=SHARE)
        with TaskStore(url) as store:
            yield store


def test_each_page_has_something_to_show(store: TaskStore) -> None:
    assert has_week(store)
    assert find_pages(store)
    stats = store.stats(since=datetime.now(UTC) - timedelta(days=7))
    assert {"SUCCESS", "FAILURE", "REVOKED", "LOST"} <= stats.total.now.statuses.keys()
    assert {each.state for each in store.error_groups()} == {
        *("new", "back", "ongoing", "ignored", "resolved"),
    }
    assert store.stuck_by_p99()
    assert store.untracked(since=datetime.now(UTC) - timedelta(days=7))
    waiting = {each.queue: each for each in store.backlog()}
    assert waiting["imports"].queued and not waiting["imports"].consumers
    assert waiting["emails"].scheduled
    assert any(each.running for each in store.workers())
    assert any(each.missed for each in store.schedules())
    unsent = {each.name for each in store.services() if each.sender is None}
    assert unsent == {"legacy.sync"}
    assert {each.kind for each in store.operations()} == {"rerun", "resolve", "ignore"}
    assert len(store.releases()) == 4


def test_one_schedule_is_overdue(store: TaskStore) -> None:
    overdue = [each.entry for each in store.overdue_schedules()]

    assert overdue == ["stock levels"]


def test_a_failed_workflow_ended_when_its_step_failed(store: TaskStore) -> None:
    [part] = store.search("name:export.pack status:failure", limit=1).tasks
    assert part.root_id is not None
    workflow = store.workflow(part.root_id)
    steps = {each.name: each for each in workflow}

    assert steps["msg.notify"].status == "FAILURE"
    assert steps["msg.notify"].finished_at == part.finished_at

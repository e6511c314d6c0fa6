"""A running task is shown as running, whatever it does."""

from __future__ import annotations

from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from cadasta.workertoolbox.results import TaskStore
from servers.access import BrokerAccess
from support.brokers import result_backend_url
from support.polling import wait_until
from support.proxy import run_proxy
from support.statements import fetch
from support.worker_fleet import TIMEOUT_S, address_of, open_fleet, url_through

#: Length of a text for which `export.match` takes some seconds.
LONG = 24

#: Seconds from the start of a task within which it is shown as running.
SHOWN_S = 1.0

START = """
SELECT status, extract(epoch FROM clock_timestamp() - started_at)::float
FROM celery_taskmeta WHERE task_id = :id
"""


def start_of(database: str, id: str) -> tuple[str, float]:
    """Wait for the first state of a task; return it and its age in seconds."""

    def look() -> tuple[str, float] | None:
        rows = fetch(database, START, id=id)
        return (rows[0][0], rows[0][1]) if rows else None

    return wait_until(look, timeout_s=TIMEOUT_S) or ("", 0)


@pytest.mark.parametrize("name", ["export.match", "export.match_ignored"])
@pytest.mark.parametrize("pool", ["prefork", "threads", "solo"])
def test_a_task_that_holds_the_global_lock_is_shown_as_running(
    access: BrokerAccess, database: str, tmp_path: Path, pool: str, name: str
) -> None:
    with ExitStack() as stack:
        fleet = stack.enter_context(open_fleet(access, database, tmp_path))
        stack.enter_context(fleet.worker("-P", pool, "-c", "1"))
        fleet.publish(1)[0].get(timeout=TIMEOUT_S)
        task = fleet.app.send_task(name, [LONG])
        status, age_s = start_of(database, task.id)

        assert status == "STARTED"
        assert age_s < SHOWN_S
        fleet.app.control.shutdown()


def test_a_task_that_was_quick_before_is_shown_as_running_by_the_main_process(
    access: BrokerAccess, database: str, tmp_path: Path
) -> None:
    with ExitStack() as stack:
        fleet = stack.enter_context(open_fleet(access, database, tmp_path))
        stack.enter_context(fleet.worker("-c", "1"))
        for _ in range(3):
            fleet.app.send_task("export.match", [0]).get(timeout=TIMEOUT_S)
        task = fleet.app.send_task("export.match", [LONG])
        status, age_s = start_of(database, task.id)

        assert status == "STARTED"
        assert age_s < SHOWN_S


@pytest.mark.parametrize("fault", ["cut", "outage"])
def test_a_start_is_stored_although_the_connection_has_died(
    access: BrokerAccess, database: str, tmp_path: Path, fault: str
) -> None:
    end = tmp_path / "end"
    with ExitStack() as stack:
        proxy = stack.enter_context(run_proxy(*address_of(database)))
        fleet = stack.enter_context(open_fleet(access, database, tmp_path))
        stack.enter_context(
            fleet.with_worker_database(url_through(database, proxy)).worker("-c", "1")
        )
        fleet.publish(1)[0].get(timeout=TIMEOUT_S)
        if fault == "outage":
            proxy.refuse_connections()
        proxy.cut()
        task = fleet.app.send_task("export.wait", [str(end)])
        fleet.app.control.ping(timeout=1)
        proxy.accept_connections()
        status, _ = start_of(database, task.id)
        end.touch()
        task.get(timeout=TIMEOUT_S)

        assert status == "STARTED"


@pytest.mark.parametrize("state", ["STARTED", "PROGRESS"])
def test_a_state_that_a_task_stores_does_not_reset_its_start(
    access: BrokerAccess, database: str, tmp_path: Path, state: str
) -> None:
    end = tmp_path / "end"
    with ExitStack() as stack:
        fleet = stack.enter_context(open_fleet(access, database, tmp_path))
        stack.enter_context(fleet.worker("-c", "1"))
        store = stack.enter_context(TaskStore(result_backend_url(database)))
        task = fleet.app.send_task("export.progress", [state, str(end)])
        result = "SELECT FROM celery_taskmeta WHERE result::text LIKE '%68616c66%'"
        wait_until(lambda: fetch(database, result), timeout_s=TIMEOUT_S)
        started_at = store.get(task.id).started_at
        wait_until(lambda: start_of(database, task.id)[1] > 2, timeout_s=TIMEOUT_S)
        now = store.get(task.id)
        stuck = store.stuck(timedelta(seconds=2))
        fresh = store.stuck(timedelta(seconds=60))
        end.touch()
        task.get(timeout=TIMEOUT_S)

        assert (now.status, now.started_at) == (state, started_at)
        assert started_at is not None and started_at < datetime.now(UTC)
        assert [each.id for each in stuck] == [task.id]
        assert fresh == []
        assert store.get(task.id).started_at == started_at

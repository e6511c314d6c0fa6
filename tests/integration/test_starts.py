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

#: Returns a row once a task has stored a state of its own.
STORED = """
SELECT FROM celery_taskmeta WHERE task_id = :id AND result::text LIKE '%68616c66%'
"""

START = """
SELECT status, extract(epoch FROM clock_timestamp() - started_at)::float
FROM celery_taskmeta WHERE task_id = :id
"""

#: Notes the first state of each task, and the age of its start at that moment. A look
#: from outside comes later, by as much as the machine is busy.
NOTE_FIRST_STATES = """
CREATE TABLE first_state (task_id text, status text, age_s float);
CREATE FUNCTION note_first_state() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO first_state VALUES (NEW.task_id, NEW.status,
        extract(epoch FROM clock_timestamp() - NEW.started_at));
    RETURN NULL;
END $$;
CREATE TRIGGER note AFTER INSERT ON celery_taskmeta
FOR EACH ROW EXECUTE FUNCTION note_first_state();
"""

FIRST_STATE = "SELECT status, age_s FROM first_state WHERE task_id = :id"


def start_of(database: str, id: str, query: str = START) -> tuple[str, float]:
    """Wait until a task has a state; return it and the age of the start in seconds."""

    def look() -> tuple[str, float] | None:
        rows = fetch(database, query, id=id)
        return (rows[0][0], rows[0][1]) if rows else None

    return wait_until(look, timeout_s=TIMEOUT_S) or ("", 0)


@pytest.mark.parametrize("pool", ["prefork", "threads", "solo"])
def test_a_task_that_holds_the_global_lock_is_shown_as_running(
    access: BrokerAccess, database: str, tmp_path: Path, pool: str
) -> None:
    fetch(database, NOTE_FIRST_STATES)
    with ExitStack() as stack:
        fleet = stack.enter_context(open_fleet(access, database, tmp_path))
        worker = stack.enter_context(fleet.worker("-P", pool, "-c", "1"))
        fleet.publish(1)[0].get(timeout=TIMEOUT_S)
        sent = [
            fleet.app.send_task(name, [LONG])
            for name in ("export.match", "export.match_ignored")
        ]
        starts = [start_of(database, task.id, FIRST_STATE) for task in sent]
        # The main process looks at tasks whose name was quick before, too.
        if pool == "prefork":
            for _ in range(3):
                fleet.app.send_task("export.match", [0]).get(timeout=TIMEOUT_S)
            task = fleet.app.send_task("export.match", [LONG])
            starts.append(start_of(database, task.id, FIRST_STATE))
        worker.kill()

    assert [status for status, _ in starts] == ["STARTED"] * len(starts)
    assert max(age_s for _, age_s in starts) < SHOWN_S


def test_a_start_is_stored_although_the_connection_has_died(
    access: BrokerAccess, database: str, tmp_path: Path
) -> None:
    with ExitStack() as stack:
        proxy = stack.enter_context(run_proxy(*address_of(database)))
        fleet = stack.enter_context(open_fleet(access, database, tmp_path))
        worker = stack.enter_context(
            fleet.with_worker_database(url_through(database, proxy)).worker("-c", "1")
        )
        for fault in ("cut", "outage"):
            fleet.publish(1)[0].get(timeout=TIMEOUT_S)
            if fault == "outage":
                proxy.refuse_connections()
            proxy.cut()
            end = tmp_path / fault
            task = fleet.app.send_task("export.wait", [str(end)])
            worker.wait_for(f"[{task.id}] received")
            if fault == "outage":
                fleet.app.control.ping(timeout=1)  # Some attempts fail meanwhile.
            proxy.accept_connections()
            status, _ = start_of(database, task.id)
            end.touch()
            task.get(timeout=TIMEOUT_S)

            assert status == "STARTED", fault


def test_a_state_that_a_task_stores_does_not_reset_its_start(
    access: BrokerAccess, database: str, tmp_path: Path
) -> None:
    end = tmp_path / "end"
    with ExitStack() as stack:
        fleet = stack.enter_context(open_fleet(access, database, tmp_path))
        stack.enter_context(fleet.worker("-c", "2"))
        store = stack.enter_context(TaskStore(result_backend_url(database)))
        tasks = {
            state: fleet.app.send_task("export.progress", [state, str(end)])
            for state in ("STARTED", "PROGRESS")
        }
        for task in tasks.values():
            wait_until(
                lambda id=task.id: fetch(database, STORED, id=id),  # type: ignore[misc]
                timeout_s=TIMEOUT_S,
            )
        started = {
            state: store.get(task.id).started_at for state, task in tasks.items()
        }
        for task in tasks.values():
            wait_until(
                lambda id=task.id: start_of(database, id)[1] > 2,  # type: ignore[misc]
                timeout_s=TIMEOUT_S,
            )
        now = {state: store.get(task.id) for state, task in tasks.items()}
        stuck = store.stuck(timedelta(seconds=2))
        fresh = store.stuck(timedelta(seconds=60))
        end.touch()
        for task in tasks.values():
            task.get(timeout=TIMEOUT_S)

        assert {each.id for each in stuck} == {task.id for task in tasks.values()}
        assert fresh == []
        for state, task in tasks.items():
            started_at = started[state]
            assert started_at is not None and started_at < datetime.now(UTC)
            assert (now[state].status, now[state].started_at) == (state, started_at)
            assert store.get(task.id).started_at == started_at

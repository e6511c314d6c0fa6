"""A database that refuses for a while, and data that a database can never store."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from celery import states

from servers.access import BrokerAccess
from support.polling import wait_until
from support.processes import Process
from support.proxy import run_proxy
from support.refusals import refused_rows
from support.statements import execute, fetch
from support.worker_fleet import (
    TIMEOUT_S,
    address_of,
    count_statuses,
    open_fleet,
    url_through,
)

#: A canceled statement, a read-only server, a missing privilege and table, a full disk,
#: a deadlock and an internal error.
OUTAGES = ["57014", "25006", "42501", "42P01", "53100", "40P01", "XX000"]

#: Invalid data, a violated constraint, a limit of the server.
ABOUT_DATA = ["22P05", "23514", "54000"]


def wait_for_deliveries(worker: Process, id: str, count: int) -> None:
    """Wait until a worker has received a task several times."""
    wait_until(
        lambda: worker.text.count(f"[{id}] received") >= count, timeout_s=TIMEOUT_S
    )


@pytest.mark.parametrize("code", OUTAGES)
def test_a_refusal_that_is_not_about_the_data_loses_nothing(
    access: BrokerAccess, database: str, tmp_path: Path, code: str
) -> None:
    with ExitStack() as stack:
        fleet = stack.enter_context(open_fleet(access, database, tmp_path))
        monitor = stack.enter_context(fleet.command("tasks", "monitor"))
        worker = stack.enter_context(
            fleet.worker(
                *("-c", "1"),
                result_backend_max_retries=1,
                task_acks_late=True,
                worker_prefetch_multiplier=4,
            )
        )
        fleet.publish(1)[0].get(timeout=TIMEOUT_S)
        with refused_rows(database, code):
            results = fleet.publish(3)
            failure: Any = fleet.app.send_task("export.fail")
            for id in (results[0].id, failure.id):
                wait_for_deliveries(worker, id, 2)
            refused = monitor.wait_for("database unavailable, retrying")
        values = [result.get(timeout=TIMEOUT_S) for result in results]
        failure.get(timeout=TIMEOUT_S, propagate=False)
        wait_until(
            lambda: (
                fetch(database, "SELECT count(*) FROM workertoolbox_task")[0][0] == 5
            )
        )

        assert values == [0, 1, 2]
        assert failure.result.args == ("no",)
        assert count_statuses(database) == {states.SUCCESS: 4, states.FAILURE: 1}
        assert fetch(database, "SELECT * FROM workertoolbox_quarantine") == []
        assert "Traceback" not in refused
        assert monitor.stop() == 0


@pytest.mark.parametrize("code", ABOUT_DATA)
def test_a_refusal_of_the_data_fails_the_task_once_and_quarantines_its_message(
    access: BrokerAccess, database: str, tmp_path: Path, code: str
) -> None:
    with ExitStack() as stack:
        fleet = stack.enter_context(open_fleet(access, database, tmp_path))
        stack.enter_context(fleet.command("tasks", "monitor"))
        worker = stack.enter_context(fleet.worker("-c", "1", task_acks_late=True))
        stack.enter_context(
            refused_rows(
                database,
                code,
                tables=("celery_taskmeta",),
                condition="WHEN (NEW.status = 'SUCCESS')",
            )
        )
        execute(
            database,
            "CREATE TRIGGER refuse BEFORE INSERT ON workertoolbox_task FOR EACH ROW"
            " WHEN (NEW.args::text LIKE '%secret%') EXECUTE FUNCTION refuse()",
        )
        refused: Any = fleet.app.send_task("export.echo", ["secret"])
        error = refused.get(timeout=TIMEOUT_S, propagate=False)
        fleet.publish(1)
        [[reason]] = wait_until(
            lambda: fetch(database, "SELECT reason FROM workertoolbox_quarantine")
        )
        wait_until(
            lambda: (
                fetch(database, "SELECT count(*) FROM workertoolbox_task")[0][0] == 1
            )
        )

        assert type(error).__name__ == "ResultNotStorable"
        assert "refused for a while" in str(error)
        assert worker.text.count(f"[{refused.id}] received") == 1
        assert code in reason
        assert "secret" not in reason


@pytest.mark.parametrize("size", [300_000_000, 600_000_000])
def test_a_result_that_is_too_large_ends_in_failure_once(
    access: BrokerAccess, database: str, tmp_path: Path, size: int
) -> None:
    with ExitStack() as stack:
        fleet = stack.enter_context(open_fleet(access, database, tmp_path))
        worker = stack.enter_context(fleet.worker("-c", "1", task_acks_late=True))
        large: Any = fleet.app.send_task("export.large", [size])
        error = large.get(timeout=TIMEOUT_S, propagate=False)
        after = fleet.publish(1)[0].get(timeout=TIMEOUT_S)

        assert type(error).__name__ == "ResultNotStorable"
        assert str(size)[:3] in str(error)
        assert after == 0
        assert worker.text.count(f"[{large.id}] received") == 1


def test_a_result_for_which_the_server_ends_the_connection_fails_its_task_once(
    access: BrokerAccess, database: str, tmp_path: Path
) -> None:
    with ExitStack() as stack:
        fleet = stack.enter_context(open_fleet(access, database, tmp_path))
        worker = stack.enter_context(
            fleet.worker("-c", "1", result_backend_max_retries=2, task_acks_late=True)
        )
        stack.enter_context(
            refused_rows(
                database,
                "53200",
                tables=("celery_taskmeta",),
                condition="WHEN (length(NEW.result) > 2000000)",
            )
        )
        large: Any = fleet.app.send_task("export.large", [5_000_000])
        error = large.get(timeout=TIMEOUT_S, propagate=False)

        assert type(error).__name__ == "ResultNotStorable"
        assert worker.text.count(f"[{large.id}] received") == 1


@pytest.mark.parametrize("pool", ["prefork", "threads", "solo"])
def test_expired_revoked_and_unregistered_tasks_are_recorded_after_an_outage(
    access: BrokerAccess, database: str, tmp_path: Path, pool: str
) -> None:
    with ExitStack() as stack:
        proxy = stack.enter_context(run_proxy(*address_of(database)))
        fleet = stack.enter_context(open_fleet(access, database, tmp_path))
        worker = stack.enter_context(
            fleet.with_worker_database(url_through(database, proxy)).worker(
                "-P", pool, "-c", "1"
            )
        )
        fleet.publish(1)[0].get(timeout=TIMEOUT_S)
        proxy.refuse_connections()
        proxy.cut()
        revoked: Any = fleet.app.send_task("export.echo", [1], countdown=3600)
        wait_until(lambda: f"[{revoked.id}] received" in worker.text)
        fleet.app.control.revoke(revoked.id)
        expired: Any = fleet.app.send_task("export.echo", [1], expires=-1)
        unknown: Any = fleet.app.send_task("export.unknown", queue="export")
        fleet.app.send_task("export.echo", [1], task_id=revoked.id)
        for each in (revoked, expired, unknown):
            worker.wait_for(each.id)
        worker.wait_for("is recorded later")
        proxy.accept_connections()
        after = fleet.publish(1)[0].get(timeout=TIMEOUT_S)
        for each in (revoked, expired, unknown):
            each.get(timeout=TIMEOUT_S, propagate=False)
        exit_code = worker.stop()

        assert after == 0
        assert (revoked.state, expired.state) == (states.REVOKED, states.REVOKED)
        assert unknown.state == states.FAILURE
        assert exit_code == 0

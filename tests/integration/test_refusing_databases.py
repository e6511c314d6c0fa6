"""A database that refuses for a while, and data that a database can never store."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from celery import states

from servers.access import BrokerAccess, BrokerServer
from servers.postgresql import PostgreSQL
from support.polling import wait_until
from support.processes import Process
from support.proxy import run_proxy
from support.refusals import refused_rows
from support.statements import execute, fetch
from support.worker_fleet import (
    TIMEOUT_S,
    WorkerFleet,
    address_of,
    open_fleet,
    url_through,
)

#: A canceled statement, a read-only server, a missing privilege and table, a full disk,
#: a deadlock and an internal error.
OUTAGES = ["57014", "25006", "42501", "42P01", "53100", "40P01", "XX000"]

#: Invalid data, a violated constraint, a limit of the server.
ABOUT_DATA = ["22P05", "23514", "54000"]


#: Returns those of some tasks whose messages are stored.
STORED = "SELECT id FROM workertoolbox_task WHERE id = ANY(:ids)"

#: Returns the status of each of some tasks.
STATUSES = "SELECT status FROM celery_taskmeta WHERE task_id = ANY(:ids) ORDER BY 1"

QUARANTINED = "SELECT reason FROM workertoolbox_quarantine"


class Service(NamedTuple):
    """A monitor and a worker that meet one refusal after the other."""

    fleet: WorkerFleet
    monitor: Process
    worker: Process

    @property
    def database(self) -> str:
        """The SQLAlchemy URL of the database."""
        return self.fleet.database

    def wait_for_deliveries(self, id: str, count: int) -> None:
        """Wait until the worker has received a task several times."""
        wait_until(lambda: self.deliveries(id) >= count, timeout_s=TIMEOUT_S)

    def deliveries(self, id: str) -> int:
        """Return how often the worker has received a task."""
        return self.worker.text.count(f"[{id}] received")

    def wait_until_stored(self, ids: set[str]) -> None:
        """Wait until the monitor has stored the messages of some tasks."""
        wait_until(
            lambda: {id for [id] in fetch(self.database, STORED, ids=[*ids])} == ids
        )


@pytest.fixture(scope="module")
def service(
    rabbitmq: BrokerServer,
    postgresql: PostgreSQL,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Service]:
    folder = tmp_path_factory.mktemp("refusals")
    with ExitStack() as stack:
        access = stack.enter_context(rabbitmq.access())
        database = stack.enter_context(postgresql.database())
        fleet = stack.enter_context(open_fleet(access, database, folder))
        monitor = stack.enter_context(fleet.command("tasks", "monitor"))
        worker = stack.enter_context(
            fleet.worker(
                *("-c", "4"),
                result_backend_max_retries=1,
                task_acks_late=True,
            )
        )
        yield Service(fleet, monitor, worker)
        assert monitor.stop() == 0


@pytest.mark.parametrize("code", OUTAGES)
def test_a_refusal_that_is_not_about_the_data_loses_nothing(
    service: Service, code: str
) -> None:
    fleet, monitor, database = service.fleet, service.monitor, service.database
    first = fleet.publish(1)[0]
    first.get(timeout=TIMEOUT_S)
    service.wait_until_stored({first.id})
    quarantined = fetch(database, QUARANTINED)
    before = len(monitor.text)
    with refused_rows(database, code):
        results = fleet.publish(3)
        failure: Any = fleet.app.send_task("export.fail")
        for id in (results[0].id, failure.id):
            service.wait_for_deliveries(id, 2)
        wait_until(
            lambda: "database unavailable, retrying" in monitor.text[before:],
            timeout_s=TIMEOUT_S,
        )
    values = [result.get(timeout=TIMEOUT_S) for result in results]
    failure.get(timeout=TIMEOUT_S, propagate=False)
    ids = [first.id, *(result.id for result in results), failure.id]
    service.wait_until_stored({*ids})
    statuses = [status for [status] in fetch(database, STATUSES, ids=ids)]

    assert values == [0, 1, 2]
    assert failure.result.args == ("no",)
    assert statuses == [states.FAILURE, *[states.SUCCESS] * 4]
    assert fetch(database, QUARANTINED) == quarantined
    assert "Traceback" not in monitor.text


@pytest.mark.parametrize("code", ABOUT_DATA)
def test_a_refusal_of_the_data_fails_the_task_once_and_quarantines_its_message(
    service: Service, code: str
) -> None:
    fleet, database = service.fleet, service.database
    before = fetch(database, QUARANTINED)
    with refused_rows(
        database,
        code,
        tables=("celery_taskmeta",),
        condition="WHEN (NEW.status = 'SUCCESS')",
    ):
        execute(
            database,
            "CREATE TRIGGER refuse BEFORE INSERT ON workertoolbox_task FOR EACH ROW"
            " WHEN (NEW.args::text LIKE '%secret%') EXECUTE FUNCTION refuse()",
        )
        refused: Any = fleet.app.send_task("export.echo", ["secret"])
        error = refused.get(timeout=TIMEOUT_S, propagate=False)
        accepted = fleet.publish(1)[0]
        service.wait_until_stored({accepted.id})
        [[reason]] = wait_until(
            lambda: [row for row in fetch(database, QUARANTINED) if row not in before]
        )

    assert type(error).__name__ == "ResultNotStorable"
    assert "refused for a while" in str(error)
    assert service.deliveries(refused.id) == 1
    assert fetch(database, STORED, ids=[refused.id]) == []
    assert code in reason
    assert "secret" not in reason


@pytest.mark.parametrize("size", [300_000_000, 600_000_000])
def test_a_result_that_is_too_large_ends_in_failure_once(
    service: Service, size: int
) -> None:
    large: Any = service.fleet.app.send_task("export.large", [size])
    error = large.get(timeout=TIMEOUT_S, propagate=False)
    after = service.fleet.publish(1)[0].get(timeout=TIMEOUT_S)

    assert type(error).__name__ == "ResultNotStorable"
    assert str(size)[:3] in str(error)
    assert after == 0
    assert service.deliveries(large.id) == 1


def test_a_result_for_which_the_server_ends_the_connection_fails_its_task_once(
    service: Service,
) -> None:
    with refused_rows(
        service.database,
        "53200",
        tables=("celery_taskmeta",),
        condition="WHEN (length(NEW.result) > 2000000)",
    ):
        large: Any = service.fleet.app.send_task("export.large", [5_000_000])
        error = large.get(timeout=TIMEOUT_S, propagate=False)

    assert type(error).__name__ == "ResultNotStorable"
    assert service.deliveries(large.id) == 1


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
        # Else the worker may run the second message before it reads this one.
        assert fleet.app.control.revoke(
            revoked.id, reply=True, limit=1, timeout=TIMEOUT_S
        )
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

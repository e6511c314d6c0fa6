"""Workers, monitors and readers connect to PostgreSQL with the documented roles."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest
from celery import Celery, states
from celery.exceptions import BackendStoreError
from celery.result import GroupResult
from sqlalchemy import make_url

from cadasta.workertoolbox.results import DatabaseUnavailable, TaskStore
from cadasta.workertoolbox.results._backend.release import record_release
from servers.access import BrokerAccess, BrokerServer
from servers.ports import HOST, free_ports
from servers.postgresql import PostgreSQL
from support.brokers import result_backend_url
from support.documented_grants import grant_statements, user_with_role
from support.polling import wait_until
from support.statements import execute, fetch
from support.task_commands import call_tasks_command
from support.worker_fleet import (
    RETRYING,
    TIMEOUT_S,
    WorkerFleet,
    count_statuses,
    delete_results,
    open_fleet,
    run_workflows,
)


@pytest.fixture(scope="module")
def restricted_worker(
    rabbitmq: BrokerServer,
    postgresql: PostgreSQL,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[WorkerFleet]:
    """A fleet with a worker, all with the privileges of a worker's role."""
    with ExitStack() as stack:
        access = stack.enter_context(rabbitmq.access())
        database = stack.enter_context(postgresql.database())
        restricted = stack.enter_context(user_with_role(database, "worker"))
        folder = tmp_path_factory.mktemp("restricted")
        fleet = stack.enter_context(open_fleet(access, restricted, folder))
        stack.enter_context(fleet.worker("-c", "2"))
        yield fleet


def test_the_documented_grants_are_enough_for_a_worker(
    restricted_worker: WorkerFleet,
) -> None:
    database = restricted_worker.database
    before = count_statuses(database)
    total, members, failure = run_workflows(restricted_worker.app)
    stored = count_statuses(database) - before
    delete_results(restricted_worker.app)

    assert (total, members, failure) == (45, [*range(10)], "no")
    assert stored == {states.SUCCESS: 21, states.FAILURE: 1}
    assert count_statuses(database) == {}
    assert not fetch(database, "SELECT * FROM celery_tasksetmeta")
    assert not fetch(database, "SELECT * FROM workertoolbox_chord")


def test_a_worker_may_only_insert_its_version(
    database: str, caplog: pytest.LogCaptureFixture
) -> None:
    with user_with_role(database, "worker") as restricted:
        app = Celery(
            "export", backend=result_backend_url(restricted), set_as_current=False
        )
        backend: Any = app.backend
        user = make_url(restricted).username
        with closing(backend.database):
            for version in ("1.3.0", "1.3.0", "1.4.0"):
                app.conf.SERVICE_VERSION = version
                record_release(app, backend.database)
            revoke = f"REVOKE INSERT ON workertoolbox_release FROM {user}"
            execute(database, revoke)
            app.conf.SERVICE_VERSION = "1.5.0"
            record_release(app, backend.database)
    with TaskStore(result_backend_url(database)) as store:
        versions = [each.version for each in store.releases()]
    [line] = caplog.messages

    assert versions == ["1.4.0", "1.3.0"]
    assert "permission denied for table workertoolbox_release" in line
    assert line.endswith("with `celery -A … tasks check --role worker`")


def test_celerys_own_backend_shares_the_table_as_a_worker_role(
    restricted_worker: WorkerFleet,
) -> None:
    database, app = restricted_worker.database, restricted_worker.app
    before_all = count_statuses(database)
    plain = Celery("plain", backend=f"db+{database}", set_as_current=False)
    plain.conf.result_extended = True
    before = plain.AsyncResult("never").state
    results = restricted_worker.publish(3)
    for result in results:
        result.get(timeout=TIMEOUT_S)
    for n in range(3):
        plain.backend.store_result(f"plain{n}", n, states.SUCCESS)
    ids = [*(result.id for result in results), "plain0", "plain1", "plain2"]
    read = {
        reader: [reader.AsyncResult(id).get(timeout=1) for id in ids]
        for reader in (plain, app)
    }

    assert before == states.PENDING
    assert read == {plain: [0, 1, 2, 0, 1, 2], app: [0, 1, 2, 0, 1, 2]}
    assert count_statuses(database) - before_all == {states.SUCCESS: 6}


def test_the_documented_grants_are_enough_for_a_monitor_and_its_metrics(
    access: BrokerAccess, database: str, tmp_path: Path
) -> None:
    [port] = free_ports(1)
    with ExitStack() as stack:
        restricted = stack.enter_context(user_with_role(database, "monitor"))
        fleet = stack.enter_context(open_fleet(access, restricted, tmp_path))
        fleet.app.conf.SERVICE_VERSION = "2.0"
        ids = {result.id for result in fleet.publish(3)}
        echo = fleet.app.signature("export.echo", [1])
        first, last = (echo | echo.clone()).apply_async().as_list()[::-1]
        ids.add(str(first))
        fleet.app.send_task("export.echo", headers={"retries": -1})
        command = fleet.command("tasks", "monitor", "--prometheus", str(port))
        stack.enter_context(command).wait_for("copying tasks")
        seen = "SELECT id FROM workertoolbox_task"
        wait_until(lambda: {id for [id] in fetch(database, seen)} == ids)
        planned = fetch(database, "SELECT id FROM workertoolbox_planned")
        releases = fetch(database, "SELECT service, version FROM workertoolbox_release")
        # The archiver samples the backlog after its other housekeeping.
        wait_until(lambda: fetch(database, "SELECT FROM workertoolbox_backlog"))
        quarantined = "SELECT reason FROM workertoolbox_quarantine"
        reasons = wait_until(lambda: fetch(database, quarantined))
        with urlopen(f"http://{HOST}:{port}/metrics", timeout=10) as response:
            metrics = response.read().decode().splitlines()

    assert len(reasons) == 1
    assert releases == [("producer", "2.0")]
    assert planned == [(str(last),)]
    assert "workertoolbox_database_up 1.0" in metrics


def test_a_role_that_must_not_insert_causes_a_few_retries_and_one_error(
    access: BrokerAccess,
    database: str,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    denied = "permission denied for table celery_taskmeta"
    with ExitStack() as stack:
        restricted = stack.enter_context(user_with_role(database, "reader"))
        fleet = stack.enter_context(open_fleet(access, restricted, tmp_path))
        fleet.app.conf.result_backend_max_retries = 2
        with pytest.raises(BackendStoreError, match=denied) as caught:
            fleet.app.backend.store_result("1", "secret", states.SUCCESS)
        worker = stack.enter_context(
            fleet.worker("-c", "1", result_backend_max_retries=2)
        )
        fleet.publish(1)
        lines = worker.wait_for("Pool callback raised exception").splitlines()

    assert isinstance(caught.value, DatabaseUnavailable)
    assert "secret" not in f"{caught.value}{caplog.text}"
    for log in (caplog.text.splitlines(), lines):
        retries = [line for line in log if RETRYING in line]
        assert [line.endswith(f"{denied} (42501)") for line in retries] == [True] * 2
    for level in ("CRITICAL", "ERROR"):
        assert [denied in line for line in lines if level in line] == [True]


def test_tasks_wait_in_their_queues_until_roles_may_insert(
    access: BrokerAccess, database: str, tmp_path: Path
) -> None:
    with ExitStack() as stack:
        restricted = stack.enter_context(user_with_role(database, "reader"))
        user = make_url(restricted).username
        fleet = stack.enter_context(open_fleet(access, restricted, tmp_path))
        monitor = stack.enter_context(fleet.command("tasks", "monitor"))
        worker = stack.enter_context(
            fleet.worker(
                *("-c", "1"), result_backend_max_retries=1, task_acks_late=True
            )
        )
        [result] = fleet.publish(1)
        wait_until(
            lambda: worker.text.count(f"[{result.id}] received") > 1,
            timeout_s=TIMEOUT_S,
        )
        monitor.wait_for("database unavailable, retrying")
        stored = count_statuses(database)
        for role in ("worker", "monitor"):
            for grant in grant_statements(role):
                execute(database, grant.replace(f"TO {role};", f"TO {user};"))
        value = result.get(timeout=TIMEOUT_S)
        seen = "SELECT id FROM workertoolbox_task"
        tasks = wait_until(lambda: fetch(database, seen), timeout_s=TIMEOUT_S)
        quarantined = fetch(database, "SELECT id FROM workertoolbox_quarantine")

    assert stored == {}
    assert value == 0
    assert count_statuses(database) == {states.SUCCESS: 1}
    assert tasks == [(result.id,)]
    assert quarantined == []


def test_the_documented_grants_are_enough_for_a_reader(
    access: BrokerAccess, database: str, tmp_path: Path
) -> None:
    with ExitStack() as stack:
        fleet = stack.enter_context(open_fleet(access, database, tmp_path))
        results = [fleet.app.AsyncResult(str(n)) for n in range(3)]
        for n, result in enumerate(results):
            fleet.app.backend.store_result(result.id, n, states.SUCCESS)
        GroupResult("all", results, app=fleet.app).save()
        restricted = stack.enter_context(user_with_role(database, "reader"))
        reader = stack.enter_context(open_fleet(access, restricted, tmp_path))
        values = [reader.app.AsyncResult(each.id).get(timeout=1) for each in results]
        members = GroupResult.restore("all", app=reader.app).get(timeout=1)
        with TaskStore(result_backend_url(restricted)) as store:
            listed = {task.id: task.result for task in store.list()}
        lines = call_tasks_command(reader.app, "list", "--json").splitlines()

    assert values == members == [0, 1, 2]
    assert listed == {result.id: n for n, result in enumerate(results)}
    assert {json.loads(line)["id"] for line in lines} == set(listed)

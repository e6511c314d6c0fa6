"""No result is lost in an outage of the database."""

from __future__ import annotations

import logging
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from celery import Celery, chord, states
from celery.app.task import Context
from celery.exceptions import BackendStoreError

from cadasta.workertoolbox.results import upgrade
from servers.access import BrokerAccess
from servers.postgresql import SURVIVING_KILLS, cluster
from support.brokers import result_backend_url
from support.polling import wait_until
from support.processes import Process
from support.proxy import run_proxy
from support.statements import fetch
from support.worker_fleet import (
    RETRYING,
    TIMEOUT_S,
    address_of,
    all_succeeded,
    count_statuses,
    open_fleet,
    url_through,
)


def test_every_result_is_stored_when_the_server_restarts(
    access: BrokerAccess, tmp_path: Path
) -> None:
    with cluster() as server, ExitStack() as stack:
        database = server.url.render_as_string(hide_password=False)
        with server.running():
            upgrade(result_backend_url(database))
            fleet = stack.enter_context(open_fleet(access, database, tmp_path))
            worker = stack.enter_context(fleet.worker("-c", "2"))
            results = fleet.publish(100)
            first = results[0].get(timeout=TIMEOUT_S)
        results += fleet.publish(100)
        worker.wait_for(RETRYING)
        with server.running():
            values = [result.get(timeout=TIMEOUT_S) for result in results]

            assert first == 0
            assert values == [*range(100), *range(100)]
            assert all_succeeded(database, results)
            worker.stop()


def test_the_counts_of_a_chord_survive_a_kill_of_the_server() -> None:
    # With this delay, the server writes only synchronous commits before it is killed.
    with cluster({**SURVIVING_KILLS, "wal_writer_delay": "10s"}) as server:
        url = result_backend_url(server.url.render_as_string(hide_password=False))
        app = Celery("chords", broker="memory://", backend=url, set_as_current=False)
        backend: Any = app.backend
        part = Context(id="1", group="chord", group_index=0, chord=None)
        with server.running() as process:
            upgrade(url)
            backend.apply_chord(("chord", []), None)
            process.kill()
        with server.running() as process:
            backend.set_chord_size("chord", 2)
            backend.on_chord_part_return(part, states.SUCCESS, 1)
            process.kill()
        with server.running():
            [[size, done]] = fetch(
                server.url, "SELECT size, done FROM workertoolbox_chord"
            )
            app.close()

    assert (size, done) == (2, 1)


def test_the_end_of_an_attempt_survives_a_kill_of_the_server() -> None:
    # With this delay, the server writes only synchronous commits before it is killed.
    with cluster({**SURVIVING_KILLS, "wal_writer_delay": "10s"}) as server:
        url = result_backend_url(server.url.render_as_string(hide_password=False))
        app = Celery("retries", broker="memory://", backend=url, set_as_current=False)
        backend: Any = app.backend
        with server.running() as process:
            upgrade(url)
            for id in ("new", "started"):
                request = Context(id=id, task="export.echo", retries=0)
                if id == "started":
                    backend.store_result(id, {}, states.STARTED, request=request)
                    fetch(server.url, "SELECT txid_current()")
                error = ValueError("no")
                backend.store_result(id, error, states.RETRY, request=request)
            process.kill()
        with server.running():
            stored = fetch(server.url, "SELECT task_id, status FROM celery_taskmeta")
            app.close()

    assert {*stored} == {("new", states.RETRY), ("started", states.RETRY)}


@pytest.mark.parametrize("fault", ["terminated", "cut"])
def test_every_result_is_stored_when_connections_end(
    access: BrokerAccess, database: str, tmp_path: Path, fault: str
) -> None:
    with ExitStack() as stack:
        proxy = stack.enter_context(run_proxy(*address_of(database)))
        fleet = stack.enter_context(
            open_fleet(access, url_through(database, proxy), tmp_path)
        )
        worker = stack.enter_context(fleet.worker("-c", "2"))
        results = fleet.publish(100)
        results[0].get(timeout=TIMEOUT_S)
        if fault == "cut":
            proxy.cut()
        else:
            terminate_connections(database)
        results += fleet.publish(100)
        worker.wait_for(RETRYING)
        values = [result.get(timeout=TIMEOUT_S) for result in results]

        assert values == [*range(100), *range(100)]
        assert all_succeeded(database, results)


def terminate_connections(database: str) -> None:
    """Terminate all other connections to a database."""
    fetch(
        database,
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE datname = current_database() AND pid <> pg_backend_pid()",
    )


def test_results_are_stored_on_the_other_server_after_a_failover(
    access: BrokerAccess, tmp_path: Path
) -> None:
    with ExitStack() as stack:
        servers = [stack.enter_context(cluster()) for _ in range(2)]
        for server in servers:
            stack.enter_context(server.running())
            upgrade(
                result_backend_url(server.url.render_as_string(hide_password=False))
            )
        old, new = (server.url for server in servers)
        proxy = stack.enter_context(run_proxy(*address_of(old)))
        fleet = stack.enter_context(
            open_fleet(access, url_through(old, proxy), tmp_path)
        )
        worker = stack.enter_context(fleet.worker("-c", "2"))
        before = fleet.publish(20)
        for result in before:
            result.get(timeout=TIMEOUT_S)
        proxy.refuse_connections()
        proxy.cut()
        after = fleet.publish(20)
        worker.wait_for(RETRYING)
        proxy.set_target(*address_of(new))
        proxy.accept_connections()
        values = [result.get(timeout=TIMEOUT_S) for result in after]

        assert values == [*range(20)]
        assert all_succeeded(old, before)
        assert all_succeeded(new, after)


def test_storing_is_retried_as_often_as_configured_and_then_raises(
    access: BrokerAccess,
    database: str,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    with run_proxy(*address_of(database)) as proxy:
        with open_fleet(access, url_through(database, proxy), tmp_path) as fleet:
            backend: Any = fleet.app.backend
            default = backend.max_retries
            backend.store_result("1", 1, states.SUCCESS)
            backend.max_retries = 4
            proxy.refuse_connections()
            proxy.cut()
            with caplog.at_level(logging.WARNING), pytest.raises(BackendStoreError):
                backend.store_result("2", 2, states.SUCCESS)
            proxy.accept_connections()
            backend.store_result("3", 3, states.SUCCESS)

    assert default == 16
    assert caplog.text.count(RETRYING) == 4
    assert {id for [id] in fetch(database, "SELECT task_id FROM celery_taskmeta")} == {
        "1",
        "3",
    }


def test_a_worker_survives_an_outage_longer_than_the_retries(
    access: BrokerAccess, database: str, tmp_path: Path
) -> None:
    with ExitStack() as stack:
        proxy = stack.enter_context(run_proxy(*address_of(database)))
        fleet = stack.enter_context(open_fleet(access, database, tmp_path))
        proxied = fleet.with_worker_database(url_through(database, proxy))
        worker = stack.enter_context(
            proxied.worker("-c", "1", result_backend_max_retries=1)
        )
        fleet.publish(1)[0].get(timeout=TIMEOUT_S)
        proxy.refuse_connections()
        proxy.cut()
        lost = fleet.publish(1)[0]
        output = worker.wait_for("Pool callback raised exception")
        proxy.accept_connections()
        fleet.publish(1)[0].get(timeout=TIMEOUT_S)

    assert "BackendStoreError" in output
    assert worker.text.count(f"{lost.id}] received") == 1
    assert lost.state == states.PENDING


@pytest.mark.parametrize("pool", ["prefork", "threads"])
def test_a_task_acknowledged_late_runs_again_until_its_result_is_stored(
    access: BrokerAccess, database: str, tmp_path: Path, pool: str
) -> None:
    with ExitStack() as stack:
        proxy = stack.enter_context(run_proxy(*address_of(database)))
        fleet = stack.enter_context(open_fleet(access, database, tmp_path))
        worker = stack.enter_context(
            fleet.with_worker_database(url_through(database, proxy)).worker(
                *("-P", pool, "-c", "1"),
                result_backend_max_retries=3,
                task_acks_late=True,
                worker_prefetch_multiplier=4,
            )
        )
        fleet.publish(1)[0].get(timeout=TIMEOUT_S)
        proxy.refuse_connections()
        proxy.cut()
        success = fleet.publish(1)[0]
        failure = fleet.app.send_task("export.fail")
        echoes = [fleet.app.signature("export.echo", [n]) for n in range(3)]
        total = chord(echoes, app=fleet.app)(fleet.app.signature("export.total"))
        header: Any = total.parent
        # Not the rest of the header: the worker always prefetches the first four tasks.
        for each in (success, failure, header.results[0]):
            wait_for_deliveries(worker, each.id, 2)
        proxy.accept_connections()
        values = success.get(timeout=TIMEOUT_S), total.get(timeout=TIMEOUT_S)
        failure.get(timeout=TIMEOUT_S, propagate=False)

        assert values == (0, 3)
        assert failure.result.args == ("no",)
        assert count_statuses(database) == {states.SUCCESS: 6, states.FAILURE: 1}


def wait_for_deliveries(worker: Process, id: str, count: int) -> None:
    """Wait until a worker has received a task several times."""
    wait_until(
        lambda: worker.text.count(f"[{id}] received") >= count, timeout_s=TIMEOUT_S
    )

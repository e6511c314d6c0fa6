"""What the results of real workers survive, with faults at the network, the server and
the process."""

from __future__ import annotations

import json
import logging
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest
from celery import Celery, chord, group, states
from celery.app.task import Context
from celery.exceptions import BackendStoreError
from celery.result import AsyncResult, GroupResult
from sqlalchemy import URL, NullPool, create_engine, make_url, text
from sqlalchemy.exc import ProgrammingError

from cadasta.workertoolbox.conf import Config
from cadasta.workertoolbox.results import TaskStore, upgrade
from servers.access import BrokerAccess, BrokerServer
from servers.pgbouncer import run_pgbouncer
from servers.ports import HOST, free_ports
from servers.postgresql import SURVIVING_KILLS, cluster
from support.brokers import result_backend_url, server_broker
from support.polling import wait_until
from support.processes import Process, running
from support.proxy import Proxy, run_proxy
from support.publisher_scripts import run_script
from support.roles import user_with_role

#: Seconds until what is expected has to be there; much more than it takes.
TIMEOUT_S = 60.0

#: What Celery logs for each attempt that failed and is followed by another.
RETRYING = "Failed operation _store_result. Retrying"

#: The module of the workers.
SERVICE = """\
import os
from celery import Celery
from sqlalchemy import text
from cadasta.workertoolbox.conf import Config

embedded = "WORKERTOOLBOX_BROKER_URL" not in os.environ
app = Celery("outages")
app.config_from_object((Config.embedded if embedded else Config)(["export"]))


@app.task(name="export.echo")
def echo(value):
    return value


@app.task(name="export.fail")
def fail():
    raise KeyError("no")


@app.task(name="export.total")
def total(values):
    return sum(values)


@app.task(name="export.connection")
def connection():
    with app.backend.database.connect() as one:
        return [os.getpid(), one.scalar(text("SELECT pg_backend_pid()"))]
"""

#: Prints the connection of a process before it forks, those of four children, and its
#: own once more, each after a result has been stored on it.
FORKS = """\
import json, os, sys
from multiprocessing import get_context
from celery import Celery, states
from sqlalchemy import text

app = Celery("forks", broker="memory://", backend=json.loads(sys.argv[1]))

def store(id):
    app.backend.store_result(id, id, states.SUCCESS)
    with app.backend.database.connect() as connection:
        pid = connection.scalar(text("SELECT pg_backend_pid()"))
    os.write(1, f"{id}={pid}\\n".encode())  # In one piece beside the others.

store("before")
fork = get_context("fork")
processes = [fork.Process(target=store, args=(f"child{n}",)) for n in range(4)]
for process in processes:
    process.start()
for process in processes:
    process.join()
    assert process.exitcode == 0
store("after")
"""


@dataclass(frozen=True)
class Fleet:
    """Workers on a virtual host of RabbitMQ, and a database.

    Attributes:
        app: Publishes to them, and reads the results.
        database: What the app's backend is connected to.
        environment: Variables of the workers.
    """

    app: Celery
    database: str
    environment: dict[str, str]
    folder: Path

    def worker(
        self, *arguments: str, **settings: object
    ) -> AbstractContextManager[Process]:
        """Run a worker; settings are Celery's, in lowercase."""
        own = {f"WORKERTOOLBOX_{k.upper()}": str(v) for k, v in settings.items()}
        options = ("-Q", "export", "-l", "INFO", "--without-gossip", "--without-mingle")
        return self.command("worker", *options, *arguments, **own)

    def command(
        self, *words: str, **environment: str
    ) -> AbstractContextManager[Process]:
        """Run a command of Celery's, which ends when the block does."""
        celery = [sys.executable, "-m", "celery", "-A", "outages"]
        return running(
            [*celery, "--workdir", self.folder, *words],
            folder=self.folder,
            environment={**self.environment, **environment},
            name=words[0],
        )

    def with_backend(self, database: str) -> Fleet:
        """Return a fleet whose workers have another way to the database."""
        backend = {"WORKERTOOLBOX_RESULT_BACKEND": result_backend_url(database)}
        return replace(self, environment={**self.environment, **backend})

    def publish(self, count: int) -> list[AsyncResult[Any]]:
        """Publish some tasks that return their number."""
        return [self.app.send_task("export.echo", [n]) for n in range(count)]


@pytest.fixture
def access(rabbitmq: BrokerServer) -> Iterator[BrokerAccess]:
    with rabbitmq.access() as access:
        yield access


@contextmanager
def opened(access: BrokerAccess, database: str, folder: Path) -> Iterator[Fleet]:
    """Yield a fleet whose workers are still to be started."""
    (folder / "outages.py").write_text(SERVICE, "utf-8")
    app = Celery("producer", set_as_current=False)
    app.config_from_object(
        Config(
            ["export"],
            broker_url=access.url,
            broker_transport_options=access.transport_options,
            result_backend=result_backend_url(database),
        )
    )
    environment = server_broker("rabbitmq", access, database=database).environment
    try:
        yield Fleet(app, database, environment, folder)
    finally:
        app.close()


def rows(database: str | URL, query: str, **values: object) -> Sequence[Any]:
    """Run one statement on a connection of its own."""
    options: dict[str, Any] = {"isolation_level": "AUTOCOMMIT", "poolclass": NullPool}
    with create_engine(database, **options).connect() as connection:
        result = connection.execute(text(query), values)
        return list(result) if result.returns_rows else []


def statuses(database: str | URL) -> Counter[str]:
    """Return how many results there are of each status."""
    query = "SELECT status, count(*) FROM celery_taskmeta GROUP BY status"
    return Counter({status: count for status, count in rows(database, query)})


def all_done(database: str | URL, results: Sequence[AsyncResult[Any]]) -> bool:
    """Wait until that many successes are stored, and tell whether it is these."""
    expected = Counter({states.SUCCESS: len(results)})

    def look() -> bool:
        seen = statuses(database)
        assert seen == expected, f"{seen} instead of {expected}"
        return True

    wait_until(look, timeout_s=TIMEOUT_S)
    found = {id for [id] in rows(database, "SELECT task_id FROM celery_taskmeta")}
    return found == {result.id for result in results}


def far(database: str | URL, proxy: Proxy) -> str:
    """Return a database's URL through a proxy."""
    url = make_url(database).set(host=HOST, port=proxy.port)
    return url.render_as_string(hide_password=False)


def location(database: str | URL) -> tuple[str, int]:
    url = make_url(database)
    return url.host or HOST, url.port or 5432


def test_a_fork_opens_a_connection_of_its_own_and_leaves_its_parents_alone(
    database: str,
) -> None:
    printed = run_script(FORKS, result_backend_url(database))
    pids = dict(line.split("=") for line in printed)

    assert pids["before"] == pids["after"]
    assert len(pids) == 6
    assert len(set(pids.values())) == 5
    assert statuses(database) == {states.SUCCESS: 6}


def test_every_task_that_runs_while_the_server_restarts_ends_with_its_success(
    access: BrokerAccess, tmp_path: Path
) -> None:
    with cluster() as server, ExitStack() as stack:
        database = server.url.render_as_string(hide_password=False)
        with server.running():
            upgrade(result_backend_url(database))
            fleet = stack.enter_context(opened(access, database, tmp_path))
            worker = stack.enter_context(fleet.worker("-c", "2"))
            results = fleet.publish(100)
            first = results[0].get(timeout=TIMEOUT_S)
        results += fleet.publish(100)
        worker.wait_for(RETRYING)
        with server.running():
            values = [result.get(timeout=TIMEOUT_S) for result in results]

            assert first == 0
            assert values == [*range(100), *range(100)]
            assert all_done(database, results)
            worker.stop()


def test_what_is_known_of_a_chord_survives_a_kill_of_the_server() -> None:
    # What a commit has not waited for is lost, unless it is written in the meantime.
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
            [[size, done]] = rows(
                server.url, "SELECT size, done FROM workertoolbox_chord"
            )
            app.close()

    assert (size, done) == (2, 1)


@pytest.mark.parametrize("fault", ["terminated", "cut"])
def test_every_task_whose_connection_ends_is_stored_on_another(
    access: BrokerAccess, database: str, tmp_path: Path, fault: str
) -> None:
    with ExitStack() as stack:
        proxy = stack.enter_context(run_proxy(*location(database)))
        fleet = stack.enter_context(opened(access, far(database, proxy), tmp_path))
        worker = stack.enter_context(fleet.worker("-c", "2"))
        results = fleet.publish(100)
        results[0].get(timeout=TIMEOUT_S)
        if fault == "cut":
            proxy.cut()
        else:
            terminate(database)
        results += fleet.publish(100)
        worker.wait_for(RETRYING)
        values = [result.get(timeout=TIMEOUT_S) for result in results]

        assert values == [*range(100), *range(100)]
        assert all_done(database, results)


def terminate(database: str) -> None:
    rows(
        database,
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE datname = current_database() AND pid <> pg_backend_pid()",
    )


def test_results_are_on_the_other_server_after_a_failover(
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
        proxy = stack.enter_context(run_proxy(*location(old)))
        fleet = stack.enter_context(opened(access, far(old, proxy), tmp_path))
        worker = stack.enter_context(fleet.worker("-c", "2"))
        before = fleet.publish(20)
        for result in before:
            result.get(timeout=TIMEOUT_S)
        proxy.refuse_connections()
        proxy.cut()
        after = fleet.publish(20)
        worker.wait_for(RETRYING)
        proxy.set_target(*location(new))
        proxy.accept_connections()
        values = [result.get(timeout=TIMEOUT_S) for result in after]

        assert values == [*range(20)]
        assert all_done(old, before)
        assert all_done(new, after)


def test_an_outage_is_retried_as_often_as_is_set_and_then_raised(
    access: BrokerAccess,
    database: str,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    with run_proxy(*location(database)) as proxy:
        with opened(access, far(database, proxy), tmp_path) as fleet:
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

    assert default == 10
    assert caplog.text.count(RETRYING) == 4
    assert {id for [id] in rows(database, "SELECT task_id FROM celery_taskmeta")} == {
        "1",
        "3",
    }


def test_a_worker_outlives_an_outage_that_outlasts_the_retries(
    access: BrokerAccess, database: str, tmp_path: Path
) -> None:
    with ExitStack() as stack:
        proxy = stack.enter_context(run_proxy(*location(database)))
        fleet = stack.enter_context(opened(access, database, tmp_path))
        far_away = fleet.with_backend(far(database, proxy))
        worker = stack.enter_context(
            far_away.worker("-c", "1", result_backend_max_retries=1)
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
def test_a_task_acknowledged_late_runs_again_after_an_outage_of_any_length(
    access: BrokerAccess, database: str, tmp_path: Path, pool: str
) -> None:
    with ExitStack() as stack:
        proxy = stack.enter_context(run_proxy(*location(database)))
        fleet = stack.enter_context(opened(access, database, tmp_path))
        worker = stack.enter_context(
            fleet.with_backend(far(database, proxy)).worker(
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
        # Not the others of the header: the worker prefetches four, again and again.
        for each in (success, failure, header.results[0]):
            wait_for_deliveries(worker, each.id, 2)
        proxy.accept_connections()
        values = success.get(timeout=TIMEOUT_S), total.get(timeout=TIMEOUT_S)
        failure.get(timeout=TIMEOUT_S, propagate=False)

        assert values == (0, 3)
        assert failure.result.args == ("no",)
        assert statuses(database) == {states.SUCCESS: 6, states.FAILURE: 1}


def wait_for_deliveries(worker: Process, id: str, count: int) -> None:
    wait_until(
        lambda: worker.text.count(f"[{id}] received") >= count, timeout_s=TIMEOUT_S
    )


def test_behind_pgbouncer_workers_share_two_connections(
    access: BrokerAccess, database: str, tmp_path: Path
) -> None:
    with ExitStack() as stack:
        url = stack.enter_context(run_pgbouncer(make_url(database), size=2))
        near = url.render_as_string(hide_password=False)
        fleet = stack.enter_context(opened(access, near, tmp_path))
        for name in ("one", "two"):
            stack.enter_context(fleet.worker("-n", name, "-c", "2"))
        results = fleet.publish(100)
        values = [result.get(timeout=TIMEOUT_S) for result in results]
        total, members, failure = workflows(fleet.app)
        shared = connections(database)
        stored = statuses(database)
        clean_up(fleet.app)

        assert values == [*range(100)]
        assert (total, members, failure) == (45, [*range(10)], "no")
        assert 1 <= shared <= 2
        assert stored == {states.SUCCESS: 121, states.FAILURE: 1}
        assert statuses(database) == {}


def workflows(app: Celery) -> tuple[object, object, object]:
    """Run a chord of ten, a group of ten and a failure, and return what comes back."""
    echoes = [app.signature("export.echo", [n]) for n in range(10)]
    total = chord(echoes, app=app)(app.signature("export.total"))
    members: Any = group(echoes, app=app).apply_async()
    members.save()
    failure = app.send_task("export.fail")
    failure.get(timeout=TIMEOUT_S, propagate=False)
    restored = GroupResult.restore(members.id, app=app)
    return (
        total.get(timeout=TIMEOUT_S),
        restored.get(timeout=TIMEOUT_S),
        failure.result.args[0],
    )


def clean_up(app: Celery) -> None:
    """Delete every result, as `celery.backend_cleanup` deletes what has expired."""
    backend: Any = app.backend
    backend.expires = timedelta(microseconds=1)
    backend.cleanup()


def connections(database: str) -> int:
    """Return how many clients the database has beside the one that asks."""
    [[count]] = rows(
        database,
        "SELECT count(*) FROM pg_stat_activity"
        " WHERE datname = current_database() AND pid <> pg_backend_pid()",
    )
    return int(count)


def test_a_workers_role_need_only_read_and_write_rows(
    access: BrokerAccess, database: str, tmp_path: Path
) -> None:
    with ExitStack() as stack:
        narrow = stack.enter_context(user_with_role(database, "worker"))
        fleet = stack.enter_context(opened(access, narrow, tmp_path))
        stack.enter_context(fleet.worker("-c", "2"))
        total, members, failure = workflows(fleet.app)
        stored = statuses(database)
        clean_up(fleet.app)

    assert (total, members, failure) == (45, [*range(10)], "no")
    assert stored == {states.SUCCESS: 21, states.FAILURE: 1}
    assert statuses(database) == {}
    assert not rows(database, "SELECT * FROM celery_tasksetmeta")
    assert not rows(database, "SELECT * FROM workertoolbox_chord")


def test_the_role_of_a_monitor_need_do_no_more_than_is_granted(
    access: BrokerAccess, database: str, tmp_path: Path
) -> None:
    with ExitStack() as stack:
        narrow = stack.enter_context(user_with_role(database, "monitor"))
        fleet = stack.enter_context(opened(access, narrow, tmp_path))
        ids = {result.id for result in fleet.publish(3)}
        echo = fleet.app.signature("export.echo", [1])
        first, last = (echo | echo.clone()).apply_async().as_list()[::-1]
        ids.add(str(first))
        fleet.app.send_task("export.echo", headers={"retries": -1})
        stack.enter_context(fleet.command("tasks", "monitor"))
        seen = "SELECT id FROM workertoolbox_task"
        wait_until(lambda: {id for [id] in rows(database, seen)} == ids)
        planned = rows(database, "SELECT id FROM workertoolbox_planned")
        swept = "SELECT FROM workertoolbox_watermark WHERE seen_at > '1970-01-02'"
        wait_until(lambda: rows(database, swept))
        unread = "SELECT reason FROM workertoolbox_quarantine"
        reasons = wait_until(lambda: rows(database, unread))

    assert len(reasons) == 1
    assert planned == [(str(last),)]


def test_figures_for_prometheus_need_a_look_at_results(
    access: BrokerAccess, database: str, tmp_path: Path
) -> None:
    [port] = free_ports(1)
    with ExitStack() as stack:
        narrow = stack.enter_context(user_with_role(database, "monitor"))
        fleet = stack.enter_context(opened(access, narrow, tmp_path))
        command = fleet.command("tasks", "monitor", "--prometheus", str(port))
        stack.enter_context(command).wait_for("copying tasks")
        with urlopen(f"http://{HOST}:{port}/metrics", timeout=10) as answer:
            figures = answer.read().decode().splitlines()

    assert "workertoolbox_database_up 1.0" in figures


def test_a_role_that_may_not_insert_is_one_error_and_no_retry(
    access: BrokerAccess,
    database: str,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    with ExitStack() as stack:
        narrow = stack.enter_context(user_with_role(database, "reader"))
        fleet = stack.enter_context(opened(access, narrow, tmp_path))
        refused = "permission denied for table celery_taskmeta"
        with pytest.raises(ProgrammingError, match=refused) as caught:
            fleet.app.backend.store_result("1", "secret", states.SUCCESS)
        worker = stack.enter_context(fleet.worker("-c", "1"))
        fleet.publish(1)
        output = worker.wait_for("Pool callback raised exception")

    assert "secret" not in str(caught.value)
    assert "Retrying" not in caplog.text + output
    assert [refused in line for line in output.splitlines() if "ERROR" in line] == [
        True
    ]


def test_a_readers_role_gets_results_and_lists_tasks(
    access: BrokerAccess, database: str, tmp_path: Path
) -> None:
    with ExitStack() as stack:
        fleet = stack.enter_context(opened(access, database, tmp_path))
        with fleet.worker("-c", "1"):
            results = fleet.publish(3)
            for result in results:
                result.get(timeout=TIMEOUT_S)
        GroupResult("all", results, app=fleet.app).save()
        narrow = stack.enter_context(user_with_role(database, "reader"))
        reader = stack.enter_context(opened(access, narrow, tmp_path))
        values = [reader.app.AsyncResult(each.id).get(timeout=1) for each in results]
        members = GroupResult.restore("all", app=reader.app).get(timeout=1)
        with TaskStore(result_backend_url(narrow)) as store:
            listed = {task.id: task.result for task in store.list()}
        with reader.command("tasks", "list", "--json") as command:
            exit_code = command.wait()
            lines = [line for line in command.text.splitlines() if line[:1] == "{"]

    assert values == members == [0, 1, 2]
    assert listed == {result.id: n for n, result in enumerate(results)}
    assert exit_code == 0
    assert {json.loads(line)["id"] for line in lines} == set(listed)


def test_celerys_own_backend_shares_the_table_though_it_may_not_alter_it(
    access: BrokerAccess, database: str, tmp_path: Path
) -> None:
    with ExitStack() as stack:
        narrow = stack.enter_context(user_with_role(database, "worker"))
        fleet = stack.enter_context(opened(access, narrow, tmp_path))
        plain = Celery("plain", backend=f"db+{narrow}", set_as_current=False)
        plain.conf.result_extended = True
        before = plain.AsyncResult("never").state
        with fleet.worker("-c", "1"):
            results = fleet.publish(3)
            for result in results:
                result.get(timeout=TIMEOUT_S)
        for n in range(3):
            plain.backend.store_result(f"plain{n}", n, states.SUCCESS)
        ids = [*(result.id for result in results), "plain0", "plain1", "plain2"]
        read = {
            reader: [reader.AsyncResult(id).get(timeout=1) for id in ids]
            for reader in (plain, fleet.app)
        }

    assert before == states.PENDING
    assert read == {plain: [0, 1, 2, 0, 1, 2], fleet.app: [0, 1, 2, 0, 1, 2]}
    assert statuses(database) == {states.SUCCESS: 6}


def test_all_threads_of_a_worker_share_one_connection(
    access: BrokerAccess, database: str, tmp_path: Path
) -> None:
    url = make_url(database).update_query_dict({"application_name": "threads"})
    named = url.render_as_string(hide_password=False)
    clients = "SELECT pid FROM pg_stat_activity WHERE application_name = 'threads'"
    with ExitStack() as stack:
        fleet = stack.enter_context(opened(access, database, tmp_path))
        worker = stack.enter_context(
            fleet.with_backend(named).worker("-P", "threads", "-c", "8")
        )
        used = fleet.app.send_task("export.connection")
        echoes = fleet.publish(200)
        values = [echo.get(timeout=TIMEOUT_S) for echo in echoes]
        connected = rows(database, clients)

        assert values == [*range(200)]
        assert connected == [(used.get(timeout=TIMEOUT_S)[1],)]
        assert used.get()[0] == worker.pid


def test_a_worker_with_four_processes_and_a_monitor_share_an_sqlite_file(
    tmp_path: Path,
) -> None:
    (tmp_path / "outages.py").write_text(SERVICE, "utf-8")
    app = Celery("producer", set_as_current=False)
    app.config_from_object(Config.embedded(["export"], tmp_path / "box"))
    environment = {"WORKERTOOLBOX_FOLDER": str(tmp_path / "box")}
    upgrade(app.conf.result_backend)
    fleet = Fleet(app, app.conf.result_backend, environment, tmp_path)
    with ExitStack() as stack:
        store = stack.enter_context(TaskStore.for_app(app))
        stack.callback(app.close)
        processes = [
            stack.enter_context(fleet.worker("-c", "4")),
            stack.enter_context(fleet.command("tasks", "monitor")),
        ]
        results = fleet.publish(300)

        def look() -> bool:
            tasks = store.list(limit=1000)
            seen = Counter((task.status, task.tracked) for task in tasks)
            assert seen == {(states.SUCCESS, True): 300}, seen
            return True

        wait_until(look, timeout_s=TIMEOUT_S)
        found = {task.id: task.result for task in store.list(limit=1000)}
        for process in processes:
            process.stop()

    assert found == {result.id: n for n, result in enumerate(results)}
    for process in processes:
        assert "locked" not in process.text
        assert "Retrying" not in process.text

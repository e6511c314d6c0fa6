"""The number of database connections that workers open."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

from celery import states
from sqlalchemy import make_url

from servers.access import BrokerAccess
from servers.pgbouncer import run_pgbouncer
from support.brokers import result_backend_url
from support.publisher_scripts import run_script
from support.statements import fetch
from support.worker_fleet import (
    TIMEOUT_S,
    count_statuses,
    delete_results,
    open_fleet,
    run_workflows,
)

#: Stores a result in a process, in four processes forked from it, and in the first one
#: again; prints the id of the server process of each connection.
STORE_IN_FORKS = """\
import json, os, sys
from multiprocessing import get_context
from celery import Celery, states
from sqlalchemy import text

app = Celery("forks", broker="memory://", backend=json.loads(sys.argv[1]))

def store(id):
    app.backend.store_result(id, id, states.SUCCESS)
    with app.backend.database.connect() as connection:
        pid = connection.scalar(text("SELECT pg_backend_pid()"))
    os.write(1, f"{id}={pid}\\n".encode())  # A single write, so that lines do not mix.

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


def test_a_forked_process_opens_its_own_connection_and_keeps_its_parents_open(
    database: str,
) -> None:
    printed = run_script(STORE_IN_FORKS, result_backend_url(database))
    pids = dict(line.split("=") for line in printed)

    assert pids["before"] == pids["after"]
    assert len(pids) == 6
    assert len(set(pids.values())) == 5
    assert count_statuses(database) == {states.SUCCESS: 6}


def test_behind_pgbouncer_workers_share_two_connections(
    access: BrokerAccess, database: str, tmp_path: Path
) -> None:
    with ExitStack() as stack:
        url = stack.enter_context(run_pgbouncer(make_url(database), size=2))
        pooled_url = url.render_as_string(hide_password=False)
        fleet = stack.enter_context(open_fleet(access, pooled_url, tmp_path))
        for name in ("one", "two"):
            stack.enter_context(fleet.worker("-n", name, "-c", "2"))
        results = fleet.publish(100)
        values = [result.get(timeout=TIMEOUT_S) for result in results]
        total, members, failure = run_workflows(fleet.app)
        shared = count_connections(database)
        stored = count_statuses(database)
        delete_results(fleet.app)

        assert values == [*range(100)]
        assert (total, members, failure) == (45, [*range(10)], "no")
        assert 1 <= shared <= 2
        assert stored == {states.SUCCESS: 121, states.FAILURE: 1}
        assert count_statuses(database) == {}


def count_connections(database: str) -> int:
    """Return the number of other connections to the database."""
    [[count]] = fetch(
        database,
        "SELECT count(*) FROM pg_stat_activity"
        " WHERE datname = current_database() AND pid <> pg_backend_pid()",
    )
    return int(count)


def test_all_threads_of_a_worker_share_one_connection(
    access: BrokerAccess, database: str, tmp_path: Path
) -> None:
    url = make_url(database).update_query_dict({"application_name": "threads"})
    named = url.render_as_string(hide_password=False)
    clients = "SELECT pid FROM pg_stat_activity WHERE application_name = 'threads'"
    with ExitStack() as stack:
        fleet = stack.enter_context(open_fleet(access, database, tmp_path))
        worker = stack.enter_context(
            fleet.with_worker_database(named).worker("-P", "threads", "-c", "8")
        )
        used = fleet.app.send_task("export.connection")
        echoes = fleet.publish(200)
        values = [echo.get(timeout=TIMEOUT_S) for echo in echoes]
        connected = fetch(database, clients)

        assert values == [*range(200)]
        assert connected == [(used.get(timeout=TIMEOUT_S)[1],)]
        assert used.get()[0] == worker.pid

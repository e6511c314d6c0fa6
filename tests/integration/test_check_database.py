"""`tasks check` of the database: reachability, schema, connections and stored rows."""

from __future__ import annotations

import socket

import pytest
from celery import Celery
from sqlalchemy import create_engine, make_url

from servers.ports import HOST, free_ports
from support.checkups import run_check, with_database
from support.documented_grants import documented_grants, granted_role
from support.statements import execute


def test_a_database_that_is_down_fails_without_showing_the_password(
    undeclared_app: Celery,
) -> None:
    [port] = free_ports(1)
    url = f"postgresql+psycopg2://me:geheim@{HOST}:{port}/workers"
    checked = run_check(with_database(undeclared_app, url))

    assert checked.exit_code == 1
    assert list(checked.details("failed")) == ["database"]
    assert f"me:***@{HOST}:{port}" in checked.details("failed")["database"]
    assert (
        checked.details("skipped")["quarantine"] == "needs 'database', which is not ok"
    )
    assert "broker" in checked.details("ok")
    assert "geheim" not in checked.output


def test_an_unresponsive_database_fails_after_the_timeout(
    undeclared_app: Celery,
) -> None:
    with socket.create_server((HOST, 0)) as silent:
        port = silent.getsockname()[1]
        url = f"postgresql+psycopg2://me:geheim@{HOST}:{port}/workers"
        checked = run_check(with_database(undeclared_app, url), "--timeout", "0.5")

    assert list(checked.details("failed")) == ["database"]
    assert "within 0.5 s" in checked.details("failed")["database"]


def test_a_role_that_does_not_exist_fails(
    undeclared_app: Celery, database: str
) -> None:
    url = make_url(database).set(username="nobody", password="geheim")
    shown = url.render_as_string(hide_password=False)
    checked = run_check(with_database(undeclared_app, shown))

    assert list(checked.details("failed")) == ["database"]
    assert '"nobody" does not exist' in checked.details("failed")["database"]
    assert "geheim" not in checked.output


def test_outdated_tables_fail(undeclared_app: Celery, database: str) -> None:
    execute(database, "UPDATE workertoolbox_version SET version_num = '0001'")
    checked = run_check(with_database(undeclared_app, database))

    assert list(checked.details("failed")) == ["schema"]
    assert "schema 0001" in checked.details("failed")["schema"]
    assert "tasks upgrade" in checked.advice("schema")


def test_missing_tables_fail(undeclared_app: Celery, database: str) -> None:
    execute(database, "DROP SCHEMA public CASCADE", "CREATE SCHEMA public")
    checked = run_check(with_database(undeclared_app, database))

    assert set(checked.details("failed")) - {"monitor"} == {"schema", "privileges"}
    assert "tasks upgrade" in checked.advice("privileges")
    for unseen in ("untracked", "quarantine"):
        assert checked.details("skipped")[unseen] == "the tables do not exist"


@pytest.mark.parametrize(
    ("limit", "status"),
    [
        ("ALTER ROLE {role} CONNECTION LIMIT 7", "failed"),
        ("ALTER ROLE {role} CONNECTION LIMIT 9", "warning"),
        ("ALTER ROLE {role} CONNECTION LIMIT 11", "ok"),
        ("ALTER ROLE {role} CONNECTION LIMIT -1", "ok"),
    ],
)
def test_the_number_of_processes_is_compared_with_the_connection_limit(
    undeclared_app: Celery, database: str, limit: str, status: str
) -> None:
    with granted_role(database, *documented_grants("worker"), limit) as url:
        checked = run_check(with_database(undeclared_app, url), "--processes", "8")

    assert checked.details(status)["connections"].startswith(
        "connections needed, one for each process: 8;"
    )


def test_open_connections_are_counted_if_no_number_of_processes_is_given(
    undeclared_app: Celery, database: str
) -> None:
    limit = "ALTER ROLE {role} CONNECTION LIMIT 3"
    with granted_role(database, *documented_grants("worker"), limit) as url:
        engine = create_engine(url)
        with engine.connect(), engine.connect():
            checked = run_check(with_database(undeclared_app, url))
        engine.dispose()

    assert (
        "connections of this role, including this check: 3;"
        in checked.details("warning")["connections"]
    )
    assert "the role has room for 3" in checked.details("warning")["connections"]


def test_quarantined_messages_and_untracked_results_are_warnings(
    undeclared_app: Celery, database: str
) -> None:
    execute(
        database,
        "INSERT INTO workertoolbox_quarantine"
        " (digest, reason, body, headers, seen_at) VALUES ('1', 'no', '', '{}', now())",
        "INSERT INTO celery_taskmeta (task_id, status, date_done)"
        " VALUES ('1', 'SUCCESS', (now() AT TIME ZONE 'UTC') - interval '5 min')",
    )
    checked = run_check(with_database(undeclared_app, database))

    assert checked.exit_code == 0
    assert checked.details("warning")["quarantine"] == "messages in quarantine: 1"
    assert (
        checked.details("warning")["untracked"]
        == "results of the last hour without a task: 1"
    )

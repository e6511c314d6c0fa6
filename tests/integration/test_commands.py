"""`celery … tasks` commands on PostgreSQL, and their error messages."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text

from servers.access import BrokerServer
from servers.ports import HOST, free_ports
from servers.postgresql import PostgreSQL
from support.brokers import result_backend_url
from support.polling import wait_until
from support.processes import SERVICE_FOLDER
from support.task_commands import run_tasks_command

COMMAND = [
    sys.executable,
    "-m",
    "celery",
    "-A",
    "echo_service",
    "--workdir",
    str(SERVICE_FOLDER),
]

#: No server listens there.
UNREACHABLE_BROKER = f"amqp://me:geheim@{HOST}:1//"


def run_command(
    *words: str, broker: str = UNREACHABLE_BROKER, database: str
) -> subprocess.CompletedProcess[str]:
    """Run a command to its end."""
    return subprocess.run(
        [*COMMAND, "tasks", *words],
        env=environment(broker=broker, database=database),
        text=True,
        capture_output=True,
        timeout=60,
    )


def environment(*, broker: str, database: str) -> Mapping[str, str]:
    """Return the variables of a command, without those that configure the tests."""
    inherited = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("CELERY_", "WORKERTOOLBOX_"))
    }
    return {
        **inherited,
        "WORKERTOOLBOX_BROKER_URL": broker,
        "WORKERTOOLBOX_RESULT_BACKEND": result_backend_url(database),
    }


def assert_one_line_error(
    result: subprocess.CompletedProcess[str], *words: str
) -> None:
    """Check that a command failed with one line with these words and no password."""
    errors = [line for line in result.stderr.splitlines() if "INFO" not in line]

    assert result.returncode == 1, result.stderr
    assert len(errors) == 1, result.stderr
    assert errors[0].startswith("Error: ")
    assert all(word in errors[0] for word in words), errors
    assert "geheim" not in result.stderr


def test_upgrade_list_and_show_work_on_postgresql(postgresql: PostgreSQL) -> None:
    with postgresql.database() as database:
        engine = create_engine(database)
        with engine.begin() as connection:
            connection.execute(text("DROP SCHEMA public CASCADE"))
            connection.execute(text("CREATE SCHEMA public"))
        before = run_command("list", database=database)
        upgrade = run_command("upgrade", database=database)
        with engine.begin() as connection:
            connection.execute(
                text(
                    "INSERT INTO celery_taskmeta (task_id, status, result, name) "
                    "VALUES ('1', 'SUCCESS', '\\x3432', 'export.echo')"
                )
            )
        engine.dispose()
        listed = run_command("list", "--json", database=database)
        shown = run_command("show", "1", database=database)

    assert_one_line_error(before, "no tables of the toolbox", "tasks upgrade")
    assert upgrade.returncode == 0
    assert json.loads(listed.stdout)["result"] == 42
    assert "export.echo  SUCCESS" in shown.stdout


def test_an_archiver_without_a_monitor_archives_until_it_is_stopped(
    postgresql: PostgreSQL, tmp_path: Path
) -> None:
    variables = {
        "WORKERTOOLBOX_BROKER_URL": UNREACHABLE_BROKER,
        "WORKERTOOLBOX_ARCHIVE_AFTER": "1s",
    }
    with postgresql.database() as database:
        variables["WORKERTOOLBOX_RESULT_BACKEND"] = result_backend_url(database)
        with run_tasks_command(variables, tmp_path, "archive") as archiver:
            engine = create_engine(database, isolation_level="AUTOCOMMIT")
            with engine.connect() as connection:
                connection.exec_driver_sql(
                    "INSERT INTO celery_taskmeta (task_id, status, date_done) VALUES "
                    "('1', 'SUCCESS', (now() AT TIME ZONE 'UTC') - interval '1 minute')"
                )
                history = "SELECT id FROM workertoolbox_history"
                wait_until(lambda: connection.exec_driver_sql(history).all())
            engine.dispose()

            assert archiver.stop() == 0


def test_concurrent_upgrades_all_succeed(
    postgresql: PostgreSQL,
) -> None:
    with postgresql.database() as database:
        engine = create_engine(database)
        with engine.begin() as connection:
            connection.execute(text("DROP SCHEMA public CASCADE"))
            connection.execute(text("CREATE SCHEMA public"))
        engine.dispose()
        upgrades = [
            subprocess.Popen(
                [*COMMAND, "tasks", "upgrade"],
                env=environment(broker=UNREACHABLE_BROKER, database=database),
                stdout=subprocess.DEVNULL,
            )
            for _ in range(3)
        ]
        codes = [upgrade.wait(timeout=60) for upgrade in upgrades]

    assert codes == [0, 0, 0]


@pytest.mark.parametrize(
    "words", [["upgrade"], ["list"], ["show", "1"], ["monitor"]], ids=lambda w: w[0]
)
def test_an_unreachable_database_is_a_one_line_error(words: list[str]) -> None:
    [port] = free_ports(1)
    database = f"postgresql+psycopg2://me:geheim@{HOST}:{port}/workers"
    result = run_command(*words, database=database)

    assert_one_line_error(result, f"me:***@{HOST}:{port}", "check result_backend")


def test_a_role_without_privileges_is_a_one_line_error(postgresql: PostgreSQL) -> None:
    with postgresql.database() as database:
        engine = create_engine(database)
        role = f"reader_{engine.url.database}"
        with engine.begin() as connection:
            connection.execute(text(f"CREATE ROLE \"{role}\" LOGIN PASSWORD 'geheim'"))
        url = engine.url.set(username=role, password="geheim")
        result = run_command("list", database=url.render_as_string(hide_password=False))
        with engine.begin() as connection:
            connection.execute(text(f'DROP ROLE "{role}"'))
        engine.dispose()

    assert_one_line_error(result, "permission denied", "the privileges of its role")


def test_an_unreachable_broker_is_a_one_line_error(
    postgresql: PostgreSQL, tmp_path: Path
) -> None:
    [port] = free_ports(1)
    urls = (
        f"amqp://me:geheim@{HOST}:{port}//",
        f"redis://:geheim@{HOST}:{port}/0",
        f"sqs://me:geheim@{HOST}:{port}/",
    )
    with postgresql.database() as database, ThreadPoolExecutor() as pool:
        for result in pool.map(
            lambda url: run_command("monitor", broker=url, database=database), urls
        ):
            assert_one_line_error(
                result, "broker", f"{HOST}:{port}", "check broker_url"
            )


def test_a_refused_login_at_the_broker_is_a_one_line_error(
    postgresql: PostgreSQL, rabbitmq: BrokerServer
) -> None:
    with postgresql.database() as database, rabbitmq.access() as access:
        scheme, _, rest = access.url.partition("://")
        address = rest.partition("@")[2]
        unknown_user = f"{scheme}://stranger:geheim@{address}"
        unknown_vhost = f"{access.url}-nowhere"
        for url in (unknown_user, unknown_vhost):
            result = run_command("monitor", broker=url, database=database)
            assert_one_line_error(result, "broker", "check broker_url")


def test_an_unknown_transport_is_a_one_line_error(
    postgresql: PostgreSQL,
) -> None:
    with postgresql.database() as database:
        result = run_command(
            "monitor", broker="rabbit://localhost//", database=database
        )

    assert_one_line_error(result, "rabbit", "check broker_url")

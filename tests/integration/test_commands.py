"""The commands as processes, on PostgreSQL, and what they say when something fails."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text

from servers.access import BrokerServer
from servers.ports import HOST, free_ports
from servers.postgresql import PostgreSQL
from support.brokers import result_backend_url
from support.processes import SERVICE_FOLDER

COMMAND = [
    sys.executable,
    "-m",
    "celery",
    "-A",
    "echo_service",
    "--workdir",
    str(SERVICE_FOLDER),
]

#: Nothing listens there.
DEAD = f"amqp://me:geheim@{HOST}:1//"


def run(
    *words: str, broker: str = DEAD, database: str
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, "tasks", *words],
        env=environment(broker=broker, database=database),
        text=True,
        capture_output=True,
        timeout=60,
    )


def environment(*, broker: str, database: str) -> Mapping[str, str]:
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


def fails_in_one_line(result: subprocess.CompletedProcess[str], *words: str) -> None:
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
        before = run("list", database=database)
        upgrade = run("upgrade", database=database)
        with engine.begin() as connection:
            connection.execute(
                text(
                    "INSERT INTO celery_taskmeta (task_id, status, result, name) "
                    "VALUES ('1', 'SUCCESS', '\\x3432', 'export.echo')"
                )
            )
        engine.dispose()
        listed = run("list", "--json", database=database)
        shown = run("show", "1", database=database)

    fails_in_one_line(before, "no tables of the toolbox", "tasks upgrade")
    assert upgrade.returncode == 0
    assert json.loads(listed.stdout)["result"] == 42
    assert "export.echo  SUCCESS" in shown.stdout


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
                env=environment(broker=DEAD, database=database),
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
    result = run(*words, database=database)

    fails_in_one_line(result, f"me:***@{HOST}:{port}", "check result_backend")


def test_a_role_without_privileges_is_a_one_line_error(postgresql: PostgreSQL) -> None:
    with postgresql.database() as database:
        engine = create_engine(database)
        role = f"reader_{engine.url.database}"
        with engine.begin() as connection:
            connection.execute(text(f"CREATE ROLE \"{role}\" LOGIN PASSWORD 'geheim'"))
        url = engine.url.set(username=role, password="geheim")
        result = run("list", database=url.render_as_string(hide_password=False))
        with engine.begin() as connection:
            connection.execute(text(f'DROP ROLE "{role}"'))
        engine.dispose()

    fails_in_one_line(result, "permission denied", "what its role may do")


def test_an_unreachable_broker_is_a_one_line_error(
    postgresql: PostgreSQL, tmp_path: Path
) -> None:
    [port] = free_ports(1)
    with postgresql.database() as database:
        for url in (
            f"amqp://me:geheim@{HOST}:{port}//",
            f"redis://:geheim@{HOST}:{port}/0",
            f"sqs://me:geheim@{HOST}:{port}/",
        ):
            result = run("monitor", broker=url, database=database)
            fails_in_one_line(result, "broker", f"{HOST}:{port}", "check broker_url")


def test_a_refused_login_at_the_broker_is_a_one_line_error(
    postgresql: PostgreSQL, rabbitmq: BrokerServer
) -> None:
    with postgresql.database() as database, rabbitmq.access() as access:
        scheme, _, rest = access.url.partition("://")
        address = rest.partition("@")[2]
        stranger = f"{scheme}://stranger:geheim@{address}"
        nowhere = f"{access.url}-nowhere"
        for url in (stranger, nowhere):
            result = run("monitor", broker=url, database=database)
            fails_in_one_line(result, "broker", "check broker_url")


def test_an_unknown_transport_is_a_one_line_error(
    postgresql: PostgreSQL,
) -> None:
    with postgresql.database() as database:
        result = run("monitor", broker="rabbit://localhost//", database=database)

    fails_in_one_line(result, "rabbit", "check broker_url")

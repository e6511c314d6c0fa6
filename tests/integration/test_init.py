"""The files of `celery tasks init`, on real servers."""

from __future__ import annotations

import json
import runpy
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import yaml  # type: ignore[import-untyped]
from celery import Celery
from celery.bin.celery import celery
from click.testing import CliRunner
from kombu import pools

from cadasta.workertoolbox.conf import setup_app
from servers.access import BrokerServer
from support.brokers import result_backend_url
from support.processes import running

SERVERS = ("rabbitmq", "redis", "sqs")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "service"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


def init(broker: str) -> dict[str, str]:
    """Run the command, and return the variables of `.env.example`."""
    words = ["tasks", "init", "--broker", broker]
    assert CliRunner().invoke(celery, words).exit_code == 0
    script = "set -a && . ./.env.example && env -0"
    done = subprocess.run(
        ["env", "-i", "/bin/sh", "-c", script], capture_output=True, check=True
    )
    variables = [line.split("=", 1) for line in done.stdout.decode().split("\0")]
    return {each[0]: each[1] for each in variables if each[0].startswith("WORKER")}


@pytest.mark.parametrize("broker", SERVERS)
def test_the_first_task_is_sent_to_the_servers_of_the_variables(
    broker: str,
    folder: Path,
    database: str,
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    variables = init(broker)
    server: BrokerServer = request.getfixturevalue(broker)
    with server.access() as access:
        # The servers of the tests have other addresses than those of the example.
        options = json.loads(
            variables.get("WORKERTOOLBOX_BROKER_TRANSPORT_OPTIONS", "{}")
        )
        variables |= {
            "WORKERTOOLBOX_BROKER_URL": access.url,
            "WORKERTOOLBOX_BROKER_TRANSPORT_OPTIONS": json.dumps(
                {**access.transport_options, **options}
            ),
            "WORKERTOOLBOX_RESULT_BACKEND": result_backend_url(database),
        }
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        app: Celery = runpy.run_path("proj/celery.py")["app"]
        setup_app(app)
        with app.connection_for_read() as connection:
            app.send_task("proj.hello", ["you"])
            sent = app.amqp.queues["proj"](connection.default_channel).get()
        pools.reset()
        app.close()

    assert sent is not None
    assert sent.payload[0] == ["you"]


def test_a_service_without_a_server_runs_its_first_task(folder: Path) -> None:
    assert init("embedded") == {"WORKERTOOLBOX_FOLDER": ".workertoolbox"}
    words = ["-A", "proj", "tasks", "upgrade"]
    subprocess.run([sys.executable, "-m", "celery", *words], check=True)
    app: Celery = runpy.run_path("proj/celery.py")["app"]
    app.send_task("proj.hello", ["you"])
    command = [sys.executable, "-m", "celery", "-A", "proj", "worker", "-P", "solo"]
    with running([*command, "-l", "INFO"], folder=folder, name="worker") as worker:
        worker.wait_for("succeeded in")
    pools.reset()
    app.close()

    assert "Hello, you!" in worker.text


@pytest.mark.parametrize("broker", SERVERS)
def test_the_compose_file_runs_the_servers_of_the_variables(
    broker: str, folder: Path
) -> None:
    variables = init(broker)
    services = yaml.safe_load((folder / "compose.yaml").read_text("utf-8"))["services"]
    url = urlsplit(variables["WORKERTOOLBOX_BROKER_URL"])
    database = {
        name.removeprefix("WORKERTOOLBOX_RESULT_DB_"): value
        for name, value in variables.items()
    }

    assert set(services) == {"broker", "database"}
    assert all("healthcheck" in service for service in services.values())
    assert f"127.0.0.1:{url.port}" in {
        port.rpartition(":")[0] for port in services["broker"]["ports"]
    }
    assert services["database"]["ports"] == [f"127.0.0.1:{database['PORT']}:5432"]
    assert services["database"]["environment"] == {
        "POSTGRES_DB": database["NAME"],
        "POSTGRES_USER": database["USER"],
        "POSTGRES_PASSWORD": database["PASS"],
    }
    if broker == "rabbitmq":
        assert services["broker"]["environment"] == {
            "RABBITMQ_DEFAULT_USER": url.username,
            "RABBITMQ_DEFAULT_PASS": url.password,
        }

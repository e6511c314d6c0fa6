"""Run `celery … tasks check` and read what it prints."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pytest
from celery import Celery
from celery.bin.celery import celery
from click.testing import CliRunner
from kombu import pools

from support.brokers import result_backend_url
from support.echo_service import make_app
from support.processes import IGNORED_PREFIXES, SERVICE_FOLDER

#: Transport options to reach SQS without TLS.
PLAIN_HTTP = '{"is_secure": false}'

#: The actions on SQS that the toolbox needs.
ACTIONS = {
    "sqs:CreateQueue",
    "sqs:GetQueueAttributes",
    "sqs:SendMessage",
    "sqs:ReceiveMessage",
    "sqs:ChangeMessageVisibility",
    "sqs:DeleteMessage",
}


@dataclass(frozen=True)
class CheckResult:
    """The exit code of `tasks check`, and what it printed.

    Attributes:
        output: Standard output and standard error.
    """

    exit_code: int
    output: str

    @property
    def findings(self) -> list[dict[str, str]]:
        """The findings that `--json` prints, one for each check."""
        return [json.loads(line) for line in self.output.splitlines()]

    def details(self, status: str) -> dict[str, str]:
        """Return the details of the checks with a status, by the name of the check."""
        return {
            finding["check"]: finding["detail"]
            for finding in self.findings
            if finding["status"] == status
        }

    def advice(self, check: str) -> str:
        """Return the advice of one check."""
        [advice] = [one["advice"] for one in self.findings if one["check"] == check]
        return advice


def run_check(app: Celery, *options: str) -> CheckResult:
    """Run the command in this process, with `--json`."""
    words: list[Any] = ["-A", app, "tasks", "check", "--json", *options]
    result = CliRunner().invoke(celery, words)
    return CheckResult(result.exit_code, result.output)


def run_check_process(environment: dict[str, str], *options: str) -> CheckResult:
    """Run the command as a process of the service `fleet`."""
    inherited = {
        k: v for k, v in os.environ.items() if not k.startswith(IGNORED_PREFIXES)
    }
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "celery",
            "-A",
            "echo_service",
            "--workdir",
            str(SERVICE_FOLDER),
        ]
        + ["tasks", "check", *options],
        env={**inherited, **environment},
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=60,
    )
    return CheckResult(done.returncode, done.stdout)


@contextmanager
def configured_app(
    monkeypatch: pytest.MonkeyPatch, **variables: object
) -> Iterator[Celery]:
    """Yield the app of the service `fleet`.

    Args:
        variables: Variables of the environment, in lowercase and without their prefix.
    """
    for name, value in variables.items():
        monkeypatch.setenv(f"WORKERTOOLBOX_{name.upper()}", str(value))
    app = make_app()
    yield app
    pools.reset()
    app.close()


def with_settings(app: Celery, **settings: object) -> Celery:
    """Return an app with other settings, as if they had been made in its module."""
    app.conf.update(settings)
    return app


def with_database(app: Celery, database: str) -> Celery:
    """Return an app that stores its results in a database with this SQLAlchemy URL."""
    return with_settings(app, result_backend=result_backend_url(database))


def take_task_ids(app: Celery, queue: str) -> list[str]:
    """Take every message out of a queue, and return the ids of the tasks.

    Raises:
        AssertionError: A message has been delivered before.
    """
    ids = []
    with app.connection_for_read() as connection:
        channel: Any = connection.default_channel
        while (message := channel.basic_get(queue)) is not None:
            assert not message.delivery_info.get("redelivered")
            channel.basic_ack(message.delivery_tag)
            ids.append(message.headers["id"])
    return ids


def delete_sqs_queue(app: Celery, queue: str) -> None:
    """Delete a queue on SQS without the toolbox."""
    with app.connection_for_write() as connection:
        channel: Any = connection.default_channel
        channel.sqs().delete_queue(QueueUrl=channel._resolve_queue_url(queue))

"""Completion of names and queues by a shell, with Celery's own command line."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from kombu.message import Message

from cadasta.workertoolbox.results import TaskStore, upgrade
from cadasta.workertoolbox.results._commands.completion import TIMEOUT_S
from cadasta.workertoolbox.results._monitor.message import read_task
from cadasta.workertoolbox.results._monitor.upserts import write_batch

SERVICE = """
import logging, os, sys, warnings
from celery import Celery
from cadasta.workertoolbox.conf import Config

print("noise")
print("noise", file=sys.stderr)
warnings.warn("noise")
logging.getLogger("noise").critical("noise")
app = Celery("completed")
settings = {"broker_url": "memory://", "result_backend": os.environ["BACKEND"]}
app.config_from_object(Config(["export"], **settings))


@app.task(name="export.own")
def own(): pass
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    tmp_path.joinpath("completed.py").write_text(SERVICE, "utf-8")
    return tmp_path


@pytest.fixture
def silent_port() -> Iterator[int]:
    """A port that accepts connections, and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def completed(
    folder: Path, *words: str, backend: str, app: str = "completed"
) -> list[str]:
    """Return what bash would show for a line, the last word of which is incomplete."""
    line = ["celery", "-A", app, "tasks", *words]
    variables: Mapping[str, str] = {
        **os.environ,
        "BACKEND": backend,
        "PYTHONPATH": str(folder),
        "_CELERY_COMPLETE": "bash_complete",
        "COMP_WORDS": " ".join(line),
        "COMP_CWORD": str(len(line) - 1),
    }
    done = subprocess.run(
        [Path(sys.executable).with_name("celery")],
        cwd=folder,
        env=variables,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (0, "")
    found = done.stdout.split()
    return [each.removeprefix("plain,") for each in found]


def store_message(url: str, name: str, queue: str) -> None:
    body: Any = b"[[], {}, {}]"
    message = Message(
        body=body,
        headers={"task": name, "id": name, "root_id": name},
        content_type="application/json",
        content_encoding="utf-8",
        delivery_info={"exchange": "", "routing_key": queue},
    )
    record = read_task(message, seen_at=datetime.now(UTC))
    with TaskStore(url) as store, store.engine.begin() as connection:
        write_batch(connection, [record])


def test_names_and_queues_of_the_app_and_of_the_database_are_completed(
    folder: Path, result_backend: str
) -> None:
    upgrade(result_backend)
    store_message(result_backend, "export.stored", "exports")
    store_message(result_backend, "other", "other")
    names = completed(folder, "list", "--name", "exp", backend=result_backend)
    queues = completed(folder, "backlog", "--queue", "exp", backend=result_backend)

    assert names == ["export.own", "export.stored"]
    assert queues == ["export", "exports"]


def test_without_a_database_those_of_the_app_are_completed(
    folder: Path, silent_port: int
) -> None:
    words = ("stats", "--name", "exp")
    hanging = f"workertoolbox+postgresql+psycopg2://a@127.0.0.1:{silent_port}/a"
    started = time.monotonic()
    first = completed(folder, *words, backend=hanging)
    took_s = time.monotonic() - started
    started = time.monotonic()
    missing = "workertoolbox+sqlite:////missing/folder/results.sqlite3"
    second = completed(folder, *words, backend=missing)
    took_without_waiting_s = time.monotonic() - started

    assert first == second == ["export.own"]
    assert TIMEOUT_S < took_s < took_without_waiting_s + 10 * TIMEOUT_S


def test_without_an_app_nothing_is_completed(folder: Path) -> None:
    folder.joinpath("ending.py").write_text("raise SystemExit(3)", "utf-8")
    words = ("list", "--name", "exp")

    for app in ("ending", "missing"):
        assert completed(folder, *words, backend="", app=app) == []

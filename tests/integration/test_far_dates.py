"""Times that Python cannot represent, in any time zone, do not stop a command."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from celery.bin.celery import celery
from click.testing import CliRunner
from kombu.message import Message
from sqlalchemy import Engine, text

from cadasta.workertoolbox.results import TaskStore
from cadasta.workertoolbox.results._monitor.message import read_task
from cadasta.workertoolbox.results._monitor.upserts import write_batch
from support.result_backends import app_with_backend

PURGE = ("purge", "--older-than", "3650d")

#: Commands that change nothing.
COMMANDS = (
    ["list"],
    ["list", "--json"],
    ["list", "--status", "QUEUED"],
    ["list", "--status", "SUCCESS"],
    ["stuck", "--older-than", "1h"],
    ["stuck", "--older-than", "100w"],
    [*PURGE, "--dry-run"],
)

#: Values of columns for times. SQLite stores text, and the last two mean nothing there.
TIMES = {
    "postgresql": ("infinity", "-infinity", "294276-12-31", "4713-01-01 BC"),
    "sqlite": ("294276-12-31 00:00:00.000000", "0000-00-00", "", "tomorrow"),
}
TIMES_OF_BOTH = ("0001-01-01 00:00:00.000000", "9999-12-31 23:59:59.999999")


def message(id: str = "task", queue: str = "export", **headers: Any) -> Message:
    return Message(
        body="[[], {}, {}]",
        content_type="application/json",
        content_encoding="utf-8",
        delivery_info={"routing_key": queue},
        headers={"id": id, "task": "export.project", "root_id": id, **headers},
    )


def write(engine: Engine, *messages: Message) -> None:
    now = datetime.now(UTC)
    with engine.begin() as connection:
        write_batch(connection, [read_task(each, seen_at=now) for each in messages])


@pytest.fixture(params=["Asia/Tokyo", "America/New_York"])
def zone(
    request: pytest.FixtureRequest, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> Iterator[None]:
    """Set the time zone of the server, and that of the commands."""
    if engine.dialect.name == "postgresql":
        with engine.begin() as connection:
            name = engine.url.database
            connection.execute(
                text(f'ALTER DATABASE "{name}" SET timezone={request.param!r}')
            )
        engine.dispose()
    monkeypatch.setenv("TZ", request.param)
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.fixture
def app(result_backend: str, zone: None) -> Iterator[Any]:
    app: Any = app_with_backend(result_backend)
    yield app
    app.backend.database.close()
    app.close()


def run(app: Any, *words: str) -> str:
    result = CliRunner().invoke(celery, ["-A", app, "tasks", *words])
    assert result.exit_code == 0, (words, result.output, result.exception)
    return result.output


def run_commands(app: Any, ids: Sequence[str]) -> dict[str, str]:
    """Run every command, `show` for each of these tasks, and return the outputs."""
    shown = [["show", id, *option] for id in ids for option in ([], ["--json"])]
    return {" ".join(words): run(app, *words) for words in (*COMMANDS, *shown)}


def test_commands_survive_any_time_in_a_message(app: Any, engine: Engine) -> None:
    times = {
        f"{eta.year}{hours:+}": f"{eta.isoformat()}{hours:+03}:00"
        for eta in (datetime.max, datetime.min)
        for hours in (-12, 0, 14)
    }
    for id, far in times.items():
        write(engine, message(id, eta=far, expires=far, workertoolbox_published_at=far))
    outputs = run_commands(app, list(times))

    assert outputs["list"].count("export.project") == len(times)
    for id in times:
        assert "export.project" in outputs[f"show {id}"]
    assert run(app, *PURGE) == "0 tasks deleted\n"


def test_commands_survive_any_time_in_the_database(app: Any, engine: Engine) -> None:
    times = (*TIMES[engine.dialect.name], *TIMES_OF_BOTH)
    for number, at in enumerate(times):
        write(engine, message(f"stored-{number}"), message(f"queued-{number}"))
        values = {
            "at": at,
            **{id: f"{id}-{number}" for id in ("stored", "queued", "untracked")},
        }
        columns = ("scheduled_at", "seen_at", "eta", "expires", "published_at")
        with engine.begin() as connection:
            connection.execute(
                text(
                    "INSERT INTO celery_taskmeta "
                    "(task_id, status, date_done, started_at) "
                    "VALUES (:untracked, 'SUCCESS', :at, :at), "
                    "(:stored, 'STARTED', :at, :at)"
                ),
                values,
            )
            for column in columns:
                connection.execute(
                    text(
                        f"UPDATE workertoolbox_task SET {column} = :at "
                        "WHERE id IN (:stored, :queued)"
                    ),
                    values,
                )
    run_commands(app, [f"queued-{number}" for number in range(len(times))])


def test_a_forged_copy_deletes_and_hides_nothing(
    app: Any, engine: Engine, database_store: TaskStore
) -> None:
    now = datetime.now(UTC)
    write(engine, message(workertoolbox_published_at=now.isoformat()))
    app.backend.store_result("task", 42, "SUCCESS")
    for year in ("0001", "9000"):
        at = f"{year}-01-01T00:00:00+00:00"
        forged = [
            message(retries=retries, workertoolbox_published_at=at)
            for retries in (0, 1, 7)
        ]
        for each in (*forged, message(f"new-{year}", workertoolbox_published_at=at)):
            write(engine, each)
    run(app, *PURGE)
    task = database_store.get("task")
    newest = database_store.newest_task()

    assert (task.status, task.result) == ("SUCCESS", 42)
    assert task.scheduled_at == now
    assert newest is not None and abs(newest.lag) <= timedelta(minutes=5)

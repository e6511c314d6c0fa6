"""`tasks why`."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path

from celery import Celery, states
from celery.bin.celery import celery
from click.testing import CliRunner, Result
from stored_tasks import MINUTE, publish, store_state

from cadasta.workertoolbox.results import TaskStore


def run(app: Celery, *words: str) -> Result:
    return CliRunner().invoke(celery, ["-A", app, "tasks", "why", *words])  # type: ignore[list-item]


def test_a_reason_is_shown_with_its_evidence_and_is_trouble_or_not(
    app: Celery, store: TaskStore, now: datetime
) -> None:
    publish(store, "export", "1", at=now - 20 * MINUTE)
    publish(store, "export", "2", eta=(now + 90 * MINUTE).isoformat())
    store_state(store, "3", states.SUCCESS, name="a\x1b[31m", worker="a@host")
    stuck, scheduled, ended = (run(app, id, "--utc") for id in "123")
    sentence, blank, cause, *evidence = stuck.output.splitlines()

    assert (stuck.exit_code, scheduled.exit_code, ended.exit_code) == (1, 0, 0)
    assert sentence.startswith("export.project[1] has waited since ")
    assert (blank, cause) == ("", "no_consumer")
    assert evidence[:2] == [
        "  queue                 export",
        f"  due                   {now - 20 * MINUTE:%Y-%m-%d %H:%M:%S}",
    ]
    eta = f"{now + 90 * MINUTE:%Y-%m-%d %H:%M:%S}"
    assert f" before its ETA at {eta} (in 1.5 h).\n" in scheduled.output
    assert ended.output.startswith("a\\x1b[31m[3] succeeded at ")


def test_a_reason_as_json_has_stable_keys_and_that_of_the_other_task(
    app: Celery, store: TaskStore, now: datetime
) -> None:
    failed = {"exc_type": "ValueError", "exc_message": ["no map"]}
    result = json.dumps(failed).encode()
    store_state(store, "1", states.FAILURE, name="export.fetch", result=result)
    not_run = "not run: export.fetch[1] failed"
    store_state(store, "2", states.FAILURE, name="export.map", not_run=not_run)
    shown = run(app, "2", "--json")
    reason = json.loads(shown.stdout)
    text = run(app, "2").output

    assert shown.exit_code == 1
    assert [*reason] == (
        "id name status cause trouble sentence evidence because".split()
    )
    assert (reason["cause"], reason["trouble"]) == ("not_run", True)
    assert reason["because"]["cause"] == "failed"
    assert reason["because"]["evidence"]["error"] == "ValueError: no map"
    assert "failed  export.fetch[1]\n" in text


def test_wrong_use_and_unknown_ids_are_told_apart(app: Celery, tmp_path: Path) -> None:
    unknown = run(app, "nothing")

    assert run(app).exit_code == 2
    assert run(app, "1", "2").exit_code == 2
    assert unknown.exit_code == 1
    assert unknown.output.startswith("task[nothing] has not been seen by a monitor")
    help = run(app, "--help")
    assert help.exit_code == 0
    assert "Example: celery -A proj tasks why " in help.output


def test_a_database_without_tables_is_a_one_line_error(
    app: Celery, tmp_path: Path
) -> None:
    (tmp_path / "empty.sqlite3").touch()
    (tmp_path / "folder.sqlite3").mkdir()
    for name, words in (
        ("empty", "no tables of the toolbox; run `celery -A … tasks upgrade`"),
        ("away/x", "does not exist; check the path, or run `celery -A …"),
        ("folder", "unable to open"),
    ):
        url = f"workertoolbox+sqlite:///{tmp_path}/{name}.sqlite3"
        app.conf.update(result_backend=url)
        result = run(app, "1")

        assert result.exit_code == 1
        assert words in result.output
        assert len(result.output.splitlines()) == 1

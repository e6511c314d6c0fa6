"""The setting `RETENTION`, and deletion from the history in SQLite."""

from __future__ import annotations

import pickle
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

import pytest
from celery import Celery
from sqlalchemy import insert, select
from test_commands import run

from cadasta.workertoolbox.results import InvalidRetention, Retention
from cadasta.workertoolbox.results._database.tables import history
from cadasta.workertoolbox.results._history import purge
from cadasta.workertoolbox.results._history.days import Day
from cadasta.workertoolbox.results._history.dropping import expired_days
from cadasta.workertoolbox.results.backend import Backend

TODAY = date(2026, 3, 1)

#: A name of a task with all characters that SQL might misread.
ODD_NAME = "a'b\"c%s:g ü✓." + "x" * 180


def ages(keep: str, *days: int) -> set[Day]:
    """Return days of a class, by how many days before `TODAY` they are."""
    return {Day(keep, TODAY - timedelta(days=number)) for number in days}


@pytest.mark.parametrize(
    ("setting", "kept", "expired"),
    [
        ({}, ages("default", -7, 0, 1, 9999), set()),
        ({"default": None}, ages("default", 9999), set()),
        ({"default": "1d"}, ages("default", -7, 0, 1), ages("default", 2, 3)),
        # The history is deleted by the day.
        ({"default": "1s"}, ages("default", 1), ages("default", 2)),
        ({"default": "25h"}, ages("default", 2), ages("default", 3)),
        ({"default": "2w"}, ages("default", 14), ages("default", 15)),
        (
            {"default": "90d", "FAILURE": "365d", "export.ping": "7d"},
            ages("default", 90) | ages("FAILURE", 91, 365) | ages("export.ping", 7),
            ages("default", 91) | ages("FAILURE", 366) | ages("export.ping", 8),
        ),
        ({"default": "1d", "FAILURE": None}, ages("FAILURE", 9), ages("default", 9)),
        ({"FAILURE": "9d"}, ages("default", 99), ages("FAILURE", 99)),
        # A class that is not configured any more is treated like `default`.
        ({"default": "9d"}, ages("old.task", 9), ages("old.task", 10)),
        ({ODD_NAME: "9d"}, ages("default", 10), ages(ODD_NAME, 10)),
        ({"default": "36500d"}, ages("default", 36_500), ages("default", 36_501)),
    ],
)
def test_a_day_expires_when_all_its_tasks_are_older_than_their_class_allows(
    setting: dict[str, str | None], kept: set[Day], expired: set[Day]
) -> None:
    found = expired_days(kept | expired, Retention(setting), TODAY)

    assert {*found} == expired
    assert found == sorted(found, key=lambda each: each.day)


def test_the_classes_are_the_keys_but_the_default(app: Celery) -> None:
    app.conf.RETENTION = {"default": "90d", "FAILURE": None, "export.ping": "7d"}

    assert Retention.for_app(app).keeps == {"FAILURE", "export.ping"}
    assert Retention.for_app(Celery("plain", set_as_current=False)).keeps == set()


@pytest.mark.parametrize(
    ("setting", "shown"),
    [
        ({"default": "90"}, "RETENTION['default']: '90' is not an age"),
        ({"default": 90}, "RETENTION['default']: 90 is not an age"),
        ({"default": ""}, "RETENTION['default']: '' is not an age"),
        ({"default": "0d"}, "RETENTION['default']: '0d' is out of range"),
        ({"default": "99999d"}, "RETENTION['default']: '99999d' is out of range"),
        ({"a.b": "forever"}, "RETENTION['a.b']: 'forever' is not an age"),
        ({"failure": "9d"}, "'failure'; statuses of ended tasks are FAILURE, IGNORED"),
        ({"STARTED": "9d"}, "'STARTED'; statuses of ended tasks are FAILURE, IGNORED"),
        ({"DEFAULT": "9d"}, "the key 'DEFAULT' instead of 'default'"),
        ({"export.ping ": "9d"}, "'export.ping ', with a blank before or after it"),
        ({5: "9d"}, "the key 5, which is not a status or a name"),
        ({"": "9d"}, "the key '', which is not a status or a name"),
        ({"a\0b": "9d"}, "the key 'a\\x00b', which is not a status or a name"),
        ({"x.y": "1", "STARTED": "9d"}, "RETENTION['x.y']: '1' is not"),
        ({"x.y": "1", "STARTED": "9d"}, "'STARTED'; statuses of"),
        ("90d", "RETENTION='90d' is not a dictionary"),
    ],
)
def test_an_invalid_setting_is_an_error_that_names_the_problem(
    app: Celery, setting: Any, shown: str
) -> None:
    app.conf.RETENTION = setting
    with pytest.raises(InvalidRetention) as caught:
        Retention.for_app(app)
    result = run(app, "purge")

    assert shown in str(caught.value)
    assert '{"default": "90d"' in str(caught.value)
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)
    assert result.exit_code == 1
    assert result.stderr == f"Error: {caught.value}\n"


def store_history(backend: Backend, keep: str, *ages_days: int) -> None:
    """Store tasks `{keep}-{age}` that ended so many days ago."""
    today = datetime.now(UTC).date()
    for age in ages_days:
        day = today - timedelta(days=age)
        ended_at = datetime.combine(day, time(12), UTC)
        row = {"id": f"{keep}-{age}", "keep": keep, "day": day, "finished_at": ended_at}
        status = "SUCCESS" if keep == "default" else "FAILURE"
        fixed = {"status": status, "tracked": True, "forgotten": False, "name": "a.b"}
        with backend.database.engine.begin() as connection:
            connection.execute(
                insert(history).values(**row, **fixed, listed_at=ended_at)
            )


def archived(backend: Backend) -> list[str]:
    with backend.database.engine.connect() as connection:
        return sorted(connection.scalars(select(history.c.id)))


def test_the_command_deletes_tasks_older_than_retention_allows(
    app: Celery, backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(purge, "BATCH_SIZE", 2)
    app.conf.RETENTION = {"default": "5d", "FAILURE": "9d"}
    store_history(backend, "default", 0, 5, 6, 7, 8)
    store_history(backend, "FAILURE", 9, 10)
    store_history(backend, "gone", 5, 6)
    counted = run(app, "purge", "--dry-run")
    untouched = archived(backend)
    result = run(app, "purge")

    assert counted.output == "5 tasks would be deleted\n"
    assert len(untouched) == 9
    assert result.output == "5 tasks deleted\n"
    assert archived(backend) == ["FAILURE-9", "default-0", "default-5", "gone-5"]


@pytest.mark.parametrize(
    ("words", "kept"),
    [
        (["--older-than", "6d"], ["FAILURE-5", "default-5"]),
        (
            ["--older-than", "6d", "--status", "FAILURE"],
            ["FAILURE-5", "default-5", "default-7"],
        ),
        (["--older-than", "6d", "--name", "a.b"], ["FAILURE-5", "default-5"]),
        (
            ["--older-than", "6d", "--status", "QUEUED"],
            ["FAILURE-5", "FAILURE-7", "default-5", "default-7"],
        ),
    ],
)
def test_options_select_tasks_of_the_history(
    app: Celery, backend: Backend, words: list[str], kept: list[str]
) -> None:
    for keep in ("default", "FAILURE"):
        store_history(backend, keep, 5, 7)
    counted = run(app, "purge", *words, "--dry-run")
    result = run(app, "purge", *words)

    assert archived(backend) == kept
    deleted = "1 task" if len(kept) == 3 else f"{4 - len(kept)} tasks"
    assert result.output == f"{deleted} deleted\n"
    assert counted.output == f"{deleted} would be deleted\n"

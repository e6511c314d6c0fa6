"""Entries of beat's schedule: a real beat, monitor and worker, with each scheduler."""

from __future__ import annotations

import json
import signal
import sqlite3
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, closing
from pathlib import Path

import pytest

from cadasta.workertoolbox.results import Schedule, TaskStore, upgrade
from support.polling import wait_until
from support.processes import Process, running

#: The services share a broker and a database, and have a schedule of their own.
SERVICE = """
from celery import Celery
from celery.schedules import crontab
from cadasta.workertoolbox.conf import Config
app = Celery("{name}")
app.config_from_object(Config.embedded(["export"], timezone="Europe/Berlin"))
app.conf.beat_schedule = {{
    "ping": {{"task": "export.ping", "schedule": 1.0}},
    "lost": {{
        "task": "export.ping", "schedule": 1.0, "options": {{"queue": "exprot"}}
    }},
    "nightly": {{"task": "export.report", "schedule": crontab(30, 2)}},
}}

@app.task(name="export.ping")
def ping():
    return "pong"
"""

#: The same for django-celery-beat, which stores the schedule in its own database.
DJANGO = (
    """
import django
from django.conf import settings
settings.configure(
    SECRET_KEY="-", USE_TZ=True, INSTALLED_APPS=["django_celery_beat"],
    DATABASES={{"default": {{
        "ENGINE": "django.db.backends.sqlite3", "NAME": "django.sqlite3",
    }}}},
)
django.setup()
from django.core.management import call_command
call_command("migrate", verbosity=0)
"""
    + SERVICE
)

#: What the administration of Django does when a user disables an entry.
DISABLE = """
UPDATE django_celery_beat_periodictask SET enabled = 0 WHERE name = 'lost';
UPDATE django_celery_beat_periodictasks SET last_update = '2999-01-01';
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with the services, in which a monitor runs."""
    folder = tmp_path_factory.mktemp("schedules")
    for name in ("plain", "embedded"):
        (folder / f"{name}_service.py").write_text(SERVICE.format(name=name), "utf-8")
    (folder / "django_service.py").write_text(DJANGO.format(name="django"), "utf-8")
    (folder / ".workertoolbox").mkdir(mode=0o700)
    upgrade(backend(folder))
    with celery(folder, "plain", "tasks", "monitor"):
        yield folder


@pytest.fixture
def store(folder: Path) -> Iterator[TaskStore]:
    with TaskStore(backend(folder)) as store:
        yield store


def backend(folder: Path) -> str:
    return f"workertoolbox+sqlite:///{folder}/.workertoolbox/results.sqlite3"


def celery(folder: Path, name: str, *words: str) -> AbstractContextManager[Process]:
    command = [sys.executable, "-m", "celery", "-A", f"{name}_service", *words]
    return running(command, folder=folder, name=f"{name}-{'-'.join(words[:2])}")


def beat(
    folder: Path, name: str, *options: str, file: str = "schedule"
) -> AbstractContextManager[Process]:
    fixed = ["--pidfile=", "--max-interval", "1", "--schedule", f"{name}-{file}"]
    return celery(folder, name, "beat", *fixed, *options)


def entries(store: TaskStore, service: str) -> dict[str, Schedule]:
    """Return the entries of a service by name."""
    found = store.schedules(removed=True)
    return {each.entry: each for each in found if each.service == service}


def test_the_schedule_of_beat_and_the_end_of_beat_are_known(
    folder: Path, store: TaskStore
) -> None:
    def known() -> dict[str, Schedule]:
        return entries(store, "plain")

    def on_time() -> dict[str, Schedule]:
        found = known()
        last = found["ping"].last
        # A busy machine may delay one run, but not run after run.
        assert last is not None and last.late_s is not None and last.late_s < 1, last
        return found

    with beat(folder, "plain") as first:
        wait_until(lambda: "ping" in known() and known()["ping"].count >= 2)
        wait_until(lambda: known()["lost"].overdue)
        alone = wait_until(on_time)
        with beat(folder, "plain", file="second") as second:
            wait_until(lambda: known()["ping"].doubled >= 2)
            second.stop(signal.SIGKILL)
        assert not known()["ping"].overdue
        first.stop(signal.SIGKILL)
    wait_until(lambda: known()["ping"].overdue)
    with celery(
        folder, "plain", "tasks", "schedules", "--exit-code", "--json"
    ) as shown:
        exit_code = shown.wait()
        lines = [json.loads(line) for line in shown.text.splitlines()]

    ping, lost, nightly = (alone[name] for name in ("ping", "lost", "nightly"))
    assert ping.last is not None and ping.next_at is not None
    assert ping.last.status == "QUEUED"
    assert (ping.words, ping.doubled) == ("every second", 0)
    # Its task is refused, because no queue has this name.
    assert (lost.last, lost.count) == (None, 0)
    assert (nightly.words, nightly.timezone) == ("every day at 02:30", "Europe/Berlin")
    assert nightly.last is None and nightly.next_at is not None
    assert nightly.next_at > ping.next_at and not nightly.overdue
    assert store.get(ping.last.task_id).schedule == "ping"
    assert store.get(ping.last.task_id).service == "plain"
    assert exit_code == 1
    overdue = {(each["service"], each["entry"]) for each in lines if each["overdue"]}
    assert {("plain", "ping"), ("plain", "lost")} <= overdue


def test_the_schedule_of_a_beat_inside_a_worker_is_known(
    folder: Path, store: TaskStore
) -> None:
    words = ("worker", "-B", "-c", "1", "-Q", "export", "-s", "embedded-schedule")
    with celery(folder, "embedded", *words):
        wait_until(
            lambda: (
                (found := entries(store, "embedded").get("ping"))
                and found.last
                and found.last.status == "SUCCESS"
                and found.count >= 2
            )
        )


def test_the_schedule_of_django_celery_beat_is_known(
    folder: Path, store: TaskStore
) -> None:
    pytest.importorskip("django_celery_beat")
    scheduler = "django_celery_beat.schedulers:DatabaseScheduler"
    with beat(folder, "django", "-S", scheduler):
        wait_until(lambda: entries(store, "django").get("ping"))
        wait_until(lambda: entries(store, "django")["ping"].count >= 2)
        wait_until(lambda: entries(store, "django")["lost"].overdue)
        ping = entries(store, "django")["ping"]
        with closing(sqlite3.connect(folder / "django.sqlite3")) as connection:
            connection.executescript(DISABLE)
        wait_until(lambda: entries(store, "django")["lost"].removed)

    assert ping.last is not None and ping.last.late_s is not None
    assert ping.last.late_s < 5
    assert (ping.words, ping.doubled, ping.overdue) == ("every second", 0, False)
    assert not entries(store, "django")["lost"].overdue

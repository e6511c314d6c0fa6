"""Entries of beat's schedule: a real beat, monitor and worker, with each scheduler."""

from __future__ import annotations

import json
import signal
import sqlite3
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, closing
from datetime import UTC, datetime, timedelta
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
    SECRET_KEY="-", USE_TZ=True, TIME_ZONE="UTC", INSTALLED_APPS=["django_celery_beat"],
    DATABASES={{"default": {{
        "ENGINE": "django.db.backends.sqlite3", "NAME": "django.sqlite3",
        "OPTIONS": {{"init_command": "PRAGMA synchronous = OFF"}},
    }}}},
)
django.setup()
from django.core.management import call_command
call_command("migrate", verbosity=0)
"""
    + SERVICE
)

#: Entries that django-celery-beat does not load for hours, except the last one. It
#: always loads those of four o'clock.
ENTRIES = """
from datetime import timedelta
from django.db import connection
from django.utils.timezone import now
from django_celery_beat import models
def add(name, at, last_run_at=None, **values):
    values = {{
        "crontab": models.CrontabSchedule.objects.create(
            minute="0", hour=str(at.hour), timezone="UTC"
        ),
        **values,
    }}
    models.PeriodicTask.objects.create(
        name=name, task="export.report", last_run_at=last_run_at, **values
    )
def away(hours):
    at = (now() + timedelta(hours=hours)).replace(minute=0, second=0, microsecond=0)
    return at if at.hour != 4 else at - timedelta(hours=1)
add("report", away(8))
add("late", away(-5), last_run_at=away(-5) - timedelta(days=1))
add("disabled", away(8), enabled=False)
add("once", away(8), one_off=True)
add("sent once", away(8), one_off=True, total_run_count=1)
add("started", away(8), start_time=away(8) + timedelta(days=2, minutes=-30))
add("expired", away(8), expires=away(-1))
tomorrow = models.ClockedSchedule.objects.create(clocked_time=away(24))
add("clocked", away(24), crontab=None, clocked=tomorrow, one_off=True)
hourly = models.IntervalSchedule.objects.create(every=1, period="hours")
add("hourly", now(), crontab=None, interval=hourly)
def show(execute, sql, *others):
    if '"enabled" LIMIT' in sql:
        print("reads the entries")
    return execute(sql, *others)
connection.execute_wrappers.append(show)
"""

#: What the administration of Django does when a user changes entries.
CHANGE = """
UPDATE django_celery_beat_periodictask SET enabled = 0 WHERE name IN ('lost', 'once');
DELETE FROM django_celery_beat_periodictask WHERE name = 'clocked';
UPDATE django_celery_beat_crontabschedule SET hour = '{hour}' WHERE id = (
    SELECT crontab_id FROM django_celery_beat_periodictask WHERE name = 'report'
);
UPDATE django_celery_beat_periodictasks SET last_update = '2999-01-01';
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with the services, in which a monitor runs."""
    folder = tmp_path_factory.mktemp("schedules")
    for name in ("plain", "embedded"):
        (folder / f"{name}_service.py").write_text(SERVICE.format(name=name), "utf-8")
    django = (DJANGO + ENTRIES).format(name="django")
    (folder / "django_service.py").write_text(django, "utf-8")
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

    def known() -> dict[str, Schedule]:
        return entries(store, "django")

    scheduler = "django_celery_beat.schedulers:DatabaseScheduler"
    now = datetime.now(UTC)
    moved_to = (now + timedelta(hours=11)).replace(minute=0, second=0, microsecond=0)
    with beat(folder, "django", "-S", scheduler) as process:
        wait_until(lambda: known().get("ping"))
        wait_until(lambda: known()["ping"].count >= 2)
        wait_until(lambda: known()["lost"].overdue)
        # A busy machine may delay one run, but not run after run.
        wait_until(lambda: (last := known()["ping"].last) and (last.late_s or 9) < 5)
        first = known()
        with closing(sqlite3.connect(folder / "django.sqlite3")) as connection:
            connection.executescript(CHANGE.format(hour=moved_to.hour))
        wait_until(lambda: known()["lost"].removed)
        second = known()
        process.stop()

    ping = first["ping"]
    assert (ping.words, ping.doubled, ping.overdue) == ("every second", 0, False)
    assert not second["lost"].overdue
    shown = {name: each for name, each in first.items() if not each.removed}
    due = {name: each.next_at for name, each in shown.items()}
    assert "disabled" not in first and {"nightly", "hourly"} <= set(shown)
    report = shown["report"]
    assert report.schedule.startswith("0 ") and report.schedule.endswith(" * * *")
    assert (report.timezone, report.last, report.overdue) == ("UTC", None, False)
    assert report.next_at is not None
    assert timedelta(hours=6) < report.next_at - now < timedelta(hours=9)
    assert due["once"] == report.next_at
    assert due["started"] == report.next_at + timedelta(days=2)
    assert due["sent once"] is due["expired"] is None
    clocked = shown["clocked"]
    assert clocked.next_at is not None and clocked.schedule.startswith("at ")
    assert timedelta(hours=22) < clocked.next_at - now < timedelta(hours=25)
    late = second["late"]
    assert late.overdue and late.next_at is not None
    assert late.next_at == due["late"]
    assert timedelta(hours=4) < now - late.next_at < timedelta(hours=7)
    assert second["report"].next_at == moved_to and not second["report"].overdue
    removed = {name for name, each in second.items() if each.removed}
    assert removed == {"lost", "once", "clocked"}
    # The entries are read when beat has read them, and not for every message.
    assert process.text.count("reads the entries") == 2 < second["ping"].count

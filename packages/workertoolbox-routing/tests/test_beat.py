"""Messages of beat describe the entry and the run that they belong to."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from celery import Celery, _state
from celery.beat import PersistentScheduler, Scheduler, Service
from celery.schedules import BaseSchedule, crontab, schedule
from celery.signals import beat_init

from cadasta.workertoolbox.routing import Routing, _listing
from cadasta.workertoolbox.routing._headers import BEAT
from cadasta.workertoolbox.routing._listing import MAX_BYTES
from cadasta.workertoolbox.routing._schedule_entries import (
    describe_entry,
    schedule_text,
)

#: A crontab that was due a while ago, in a time zone of its own.
NIGHTLY = crontab("30", "2", day_of_week="mon-fri")


@pytest.fixture
def app() -> Iterator[Celery]:
    app = Celery("billing", set_as_current=False)
    app.config_from_object(
        Routing(["export"], broker_url="memory://", timezone="Europe/Berlin")
    )
    app.conf.beat_schedule = {
        "nightly": {"task": "export.report", "schedule": NIGHTLY},
        "often": {"task": "export.ping", "schedule": 60.0},
    }
    received(app)  # what other tests have left
    state: Any = _state
    before = state._tls.current_app
    # A schedule that was stored in a file uses the current app.
    app.set_current()
    yield app
    state._set_current_app(before)
    app.close()


def received(app: Celery) -> list[dict[str, Any]]:
    """Return the headers of the copies in the monitor queue."""
    with app.connection_for_read() as connection:
        bound = app.amqp.queues["platform.fifo"](connection.default_channel)
        bound.declare()
        return [message.headers for message in iter(bound.get, None)]


def start_beat(app: Celery, kind: Any = Scheduler, **options: Any) -> Any:
    """Return the scheduler of a beat as it is when beat begins its work."""
    service = Service(app, scheduler_cls=kind, max_interval=7, **options)
    beat_init.send(sender=service)
    return service.scheduler


def make_due(scheduler: Any, *names: str) -> None:
    """Let the last run of entries be an hour ago, or a week for a crontab."""
    for name in names:
        entry = scheduler.schedule[name]
        is_crontab = isinstance(entry.schedule, crontab)
        ago = timedelta(weeks=1) if is_crontab else timedelta(hours=1)
        entry.last_run_at = datetime.now(UTC) - ago


#: Prints an entry of a stored schedule, as beat without the toolbox reads it.
READ_SCHEDULE = """
import shelve, sys
sys.modules["cadasta"] = None
entry = shelve.open(sys.argv[1])["entries"]["sums"]
print(entry.args, entry.kwargs, entry.options)
"""


def test_a_stored_schedule_can_be_read_without_the_toolbox(
    app: Celery, tmp_path: Path
) -> None:
    values: dict[str, Any] = {
        "args": [[1, 2]],
        "kwargs": {"of": {"rows": [3]}},
        "options": {"headers": {"a": [4]}},
    }
    schedule = {"sums": {"task": "export.sum", "schedule": 60.0, **values}}
    app.conf.beat_schedule = Routing(["export"], beat_schedule=schedule).beat_schedule
    path = str(tmp_path / "schedule")
    start_beat(app, PersistentScheduler, schedule_filename=path).close()

    shown = subprocess.check_output([sys.executable, "-c", READ_SCHEDULE, path])
    assert shown.decode().strip() == " ".join(map(str, values.values()))


@pytest.mark.parametrize("kind", [Scheduler, PersistentScheduler])
def test_each_message_of_beat_describes_its_run(
    app: Celery, kind: Any, tmp_path: Path
) -> None:
    scheduler = start_beat(app, kind, schedule_filename=str(tmp_path / "schedule"))
    make_due(scheduler, "nightly", "often")
    last_run_at = scheduler.schedule["often"].last_run_at
    began_at = datetime.now(UTC)
    scheduler.tick()
    scheduler.tick()
    scheduler.close()
    messages = received(app)
    runs = {headers[BEAT]["entry"]: headers[BEAT] for headers in messages}
    nightly, often = runs["nightly"], runs["often"]

    assert len(messages) == 2
    assert {run["id"] for run in runs.values()} == {each["id"] for each in messages}
    assert nightly["schedule"] == "30 2 * * mon-fri"
    assert nightly["timezone"] == "Europe/Berlin"
    due_at, next_at = (
        datetime.fromisoformat(nightly[key]) for key in ("due_at", "next_at")
    )
    assert due_at <= began_at - timedelta(days=3) and began_at < next_at
    for moment in (due_at, next_at):
        local = moment.astimezone(app.timezone)
        assert (local.hour, local.minute, local.second) == (2, 30, 0)
    assert (often["schedule"], often["timezone"]) == ("every 60s", None)
    assert datetime.fromisoformat(often["due_at"]) == last_run_at + timedelta(
        seconds=60
    )
    assert {run["max_interval_s"] for run in runs.values()} == {7}
    assert len({run["started_at"] for run in runs.values()}) == 1


def test_a_run_that_is_sent_outside_of_a_tick_has_its_own_due_time(
    app: Celery,
) -> None:
    scheduler = start_beat(app)
    make_due(scheduler, "often")
    entry = scheduler.schedule["often"]
    scheduler.apply_async(entry)
    [headers] = received(app)

    due_at = datetime.fromisoformat(headers[BEAT]["due_at"])
    assert due_at == entry.last_run_at + timedelta(seconds=60)
    assert scheduler.schedule["often"].last_run_at > entry.last_run_at


def test_beat_lists_its_entries_when_it_starts_and_when_they_change(
    app: Celery,
) -> None:
    scheduler = start_beat(app)
    make_due(scheduler, "often", "nightly")
    for _ in range(2):
        scheduler.tick()
    first, second = (headers[BEAT] for headers in received(app))
    make_due(scheduler, "often")
    scheduler.add(name="new", task="export.new", schedule=3600)
    scheduler.tick()
    [third] = (headers[BEAT] for headers in received(app))

    assert "entries" not in second
    assert {item[0]: tuple(item[1:4]) for item in first["entries"]} == {
        "nightly": ("export.report", "30 2 * * mon-fri", "Europe/Berlin"),
        "often": ("export.ping", "every 60s", None),
    }
    assert {item[0] for item in third["entries"]} == {"nightly", "often", "new"}
    next_at = {item[0]: item[4] for item in third["entries"]}
    nightly = next(each for each in (first, second) if each["entry"] == "nightly")
    assert next_at["nightly"] == nightly["next_at"]
    assert next_at["often"] == third["next_at"]


def test_a_list_that_is_sent_again_has_the_next_runs(
    app: Celery, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_listing, "REPEAT_S", 0.0)
    scheduler = start_beat(app)
    make_due(scheduler, "often", "nightly")
    for _ in range(2):
        scheduler.tick()
    first, second = (headers[BEAT] for headers in received(app))
    next_at = {item[0]: item[4] for item in second["entries"]}

    assert next_at == {run["entry"]: run["next_at"] for run in (first, second)}


def test_an_entry_whose_task_is_refused_is_listed_as_due(app: Celery) -> None:
    app.conf.beat_schedule["often"]["options"] = {"queue": "exprot"}
    scheduler = start_beat(app)
    make_due(scheduler, "often", "nightly")
    due_at = scheduler.schedule["often"].last_run_at + timedelta(seconds=60)
    for _ in range(2):
        scheduler.tick()
    [headers] = received(app)
    next_at = {item[0]: item[4] for item in headers[BEAT]["entries"]}

    assert headers[BEAT]["entry"] == "nightly"
    assert next_at == {
        "nightly": headers[BEAT]["next_at"],
        "often": due_at.astimezone(UTC).isoformat(),
    }


def test_a_refused_run_stays_due_until_the_entry_is_changed(app: Celery) -> None:
    app.conf.beat_schedule["nightly"]["options"] = {"queue": "exprot"}
    scheduler = start_beat(app)
    make_due(scheduler, "nightly", "often")
    due_at = describe_entry(scheduler.schedule["nightly"], datetime.now(UTC))["due_at"]
    for _ in range(2):
        scheduler.tick()
    # Another entry is added, and with the second one this entry is changed.
    found = []
    for hours, plan in ((2, NIGHTLY), (3, crontab("0", "20"))):
        scheduler.add(name="new", task="export.new", schedule=3600 * hours)
        scheduler.schedule["nightly"].schedule = plan
        make_due(scheduler, "often")
        scheduler.tick()
        *_, headers = received(app)
        found.append({item[0]: item[4] for item in headers[BEAT]["entries"]})

    refused, moved = (datetime.fromisoformat(each["nightly"]) for each in found)
    assert refused == datetime.fromisoformat(due_at)
    assert refused <= datetime.now(UTC) - timedelta(days=3)
    assert moved > datetime.now(UTC)
    assert moved.astimezone(app.timezone).hour == 20


def test_an_entry_that_was_changed_is_listed_with_its_new_run(app: Celery) -> None:
    scheduler = start_beat(app)
    make_due(scheduler, "often")
    scheduler.tick()
    scheduler.add(name="often", task="export.ping", schedule=7200)
    scheduler.add(name="new", task="export.new", schedule=0.1)
    make_due(scheduler, "new")
    for _ in range(2):
        scheduler.tick()
    *_, headers = received(app)
    next_at = {item[0]: item[4] for item in headers[BEAT]["entries"]}

    in_two_hours = datetime.now(UTC) + timedelta(hours=2)
    found = datetime.fromisoformat(next_at["often"])
    assert abs(found - in_two_hours) < timedelta(minutes=1)


@pytest.mark.parametrize("error", [None, RuntimeError("no database")])
def test_beat_lists_no_entries_while_it_cannot_read_all(
    app: Celery,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    error: Exception | None,
) -> None:
    class Tasks:
        """The model of django-celery-beat, whose database may not answer."""

        @property
        def objects(self) -> Any:
            if error is not None:
                raise error
            return SimpleNamespace(enabled=list)

    class DatabaseScheduler(Scheduler):
        Model = Tasks()

    module = SimpleNamespace(DatabaseScheduler=DatabaseScheduler)
    monkeypatch.setitem(sys.modules, "django_celery_beat.schedulers", module)
    scheduler = start_beat(app, DatabaseScheduler)
    make_due(scheduler, "often", "nightly")
    for _ in range(2):
        scheduler.tick()
    messages = received(app)
    lists = [headers[BEAT].get("entries") for headers in messages]

    assert len(messages) == 2
    assert [bool(each) for each in lists] == [error is None, False]
    assert caplog.text.count("cannot read") == (error is not None)


@pytest.mark.parametrize("count", [200, 500])
def test_the_list_of_entries_is_limited(
    app: Celery, count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_listing, "REPEAT_S", 0.0)
    for number in range(count):
        app.conf.beat_schedule[f"entry-number-{number}-{'x' * 30}"] = {
            "task": "export.ping",
            "schedule": 3600,
        }
    scheduler = start_beat(app)
    make_due(scheduler, "often", "nightly", *list(scheduler.schedule)[:8])
    for _ in range(10):
        scheduler.tick()
    messages = received(app)
    lists = [headers[BEAT].get("entries") or [] for headers in messages]

    names = set(scheduler.schedule) if count == 200 else set()
    assert {item[0] for item in lists[0]} == names
    assert {len(item) for item in lists[0]} == ({1, 5} if names else set())
    assert {item[0] for each in lists for item in each if len(item) == 5} == names
    assert all(len(json.dumps(headers)) < MAX_BYTES + 5000 for headers in messages)


def test_a_retry_keeps_the_description_and_other_tasks_do_not(app: Celery) -> None:
    description = {"entry": "nightly", "id": "1", "entries": [["nightly"]]}
    headers = {BEAT: description, "order": 5}
    app.send_task("export.report", task_id="1", retries=1, headers=headers)
    app.send_task("export.other", task_id="2", headers=headers)
    retry, other = received(app)

    assert retry[BEAT] == {"entry": "nightly", "id": "1"}
    assert BEAT not in other and other["order"] == 5


class Unknown(BaseSchedule):
    """A schedule that says only whether it is due."""

    def is_due(self, last_run_at: datetime) -> Any:
        return True, 60.0


def test_beat_sends_an_entry_that_cannot_be_described(
    app: Celery, caplog: pytest.LogCaptureFixture
) -> None:
    app.conf.beat_schedule["odd"] = {"task": "export.odd", "schedule": Unknown()}
    scheduler = start_beat(app)
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            scheduler.tick()
            scheduler.populate_heap()
    messages = received(app)
    make_due(scheduler, "often")
    scheduler.apply_async(scheduler.schedule["often"])
    [other] = received(app)

    assert [headers["task"] for headers in messages] == ["export.odd"] * 2
    assert not any(BEAT in headers for headers in messages)
    assert caplog.text.count("cannot describe the runs of 'odd'") == 1
    assert {len(item): item[0] for item in other[BEAT]["entries"]}[1] == "odd"


@pytest.mark.parametrize(
    ("plan", "text"),
    [
        (crontab(), "* * * * *"),
        (crontab(0, [14, 2], day_of_month="1, 15"), "0 2,14 1,15 * *"),
        (schedule(0.5), "every 0.5s"),
        (schedule(timedelta(days=2)), "every 172800s"),
    ],
)
def test_a_schedule_is_shown_as_text(plan: Any, text: str) -> None:
    assert schedule_text(plan) == text
    assert "Unknown object" in schedule_text(Unknown())

"""A night in which much goes wrong in a fleet; see `docs/how-to/questions.md`."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

from celery import Celery
from kombu.message import Message

from cadasta.workertoolbox.conf import Config
from cadasta.workertoolbox.results import TaskStore, upgrade
from cadasta.workertoolbox.results._headers import BEAT
from support.night_failures import (
    lack_a_tax_id_again,
    lack_tax_ids,
    lose_an_export,
    refuse_charges,
    refuse_mails,
    rerun_charges,
    run_an_export_twice,
)
from support.recorded_fleet import RecordedFleet, stopped_clock, task_id
from support.shop_fleet import (
    BEAT_ATTRIBUTES,
    BILLING,
    CUSTOMER,
    EMAILS,
    EXPORTS,
    HOUR,
    INVOICES,
    LEGACY,
    MINUTE,
    NAMES,
    NOW,
    ORDER,
    OTHER_EXPORTS,
    QUEUES,
    REPORTS,
    make_call,
    night,
    run_usual_tasks,
)


@contextmanager
def sample_night(folder: Path) -> Iterator[Celery]:
    """Yield the app of the fleet, with its database in a folder, and stop the clock."""
    url = f"workertoolbox+sqlite:///{folder / 'fleet.sqlite3'}"
    upgrade(url)
    app = Celery("shop", set_as_current=False)
    config: Any = Config([*QUEUES], broker_url="memory://", result_backend=url)
    app.config_from_object(config)
    for name in NAMES:
        app.task(name=name, shared=False)(_never_run)
    with stopped_clock(NOW) as clock:
        fleet = RecordedFleet(app, clock)
        _tell(fleet, app)
        fleet.engine.dispose()
        clock.move_to(NOW)
        yield app
    app.backend.database.close()  # type: ignore[attr-defined]
    app.close()


def _never_run(*args: object, **kwargs: object) -> None:
    raise NotImplementedError


def _tell(fleet: RecordedFleet, app: Celery) -> None:
    chance = random.Random(5)
    run_usual_tasks(fleet, chance)
    refuse_mails(fleet)
    lack_tax_ids(fleet)
    lose_an_export(fleet)
    run_an_export_twice(fleet)
    fleet.archive(NOW - 18 * HOUR)
    with TaskStore.for_app(app) as store:
        for group in store.error_groups(name="exports.customer"):
            store.resolve_error_group(group.id, made_by="ann", reason="repaired")
    lack_a_tax_id_again(fleet)
    rerun_charges(fleet)
    fleet.archive(night(1, 50))
    refuse_charges(fleet)
    _fill_exports(fleet)
    _silence_reports(fleet)
    _consume_no_imports(fleet)
    _close_month(fleet)
    _schedule(fleet)
    _leave_untracked(fleet)
    _quarantine(fleet)
    _wait_for_times(fleet)
    fleet.archive(NOW - 5 * MINUTE)
    fleet.archive(NOW)


def _fill_exports(fleet: RecordedFleet) -> None:
    """Publish more exports than two workers can run, while one of them hangs."""
    free_at = {EXPORTS: night(2, 20), OTHER_EXPORTS: night(2, 20)}
    for n in range(90):
        at = night(2, 20) + n * timedelta(seconds=34)
        kwargs = {"customer_id": 300 + n, "format": "datev"}
        call = fleet.publish(make_call("exports.customer", f"datev {n}", at, kwargs))
        worker = min(free_at, key=free_at.__getitem__)
        begins_at = max(free_at[worker], at + timedelta(milliseconds=200))
        run_s = 60.0 + 7 * (n % 5)
        free_at[worker] = begins_at + timedelta(seconds=run_s + 0.1)
        if begins_at > NOW:
            continue
        if n == 31 or free_at[worker] > NOW:
            fleet.start(call, worker, begins_at)
            free_at[worker] = NOW + HOUR
        else:
            fleet.run(call, worker, begins_at, run_s, {"rows": 100 + n})


def _silence_reports(fleet: RecordedFleet) -> None:
    """Start a report on a worker that stores nothing any more."""
    for n in range(28):
        at = night(2, 10) + n * timedelta(seconds=125)
        kwargs = {"customer_id": 500 + n, "month": "2026-10"}
        call = fleet.publish(make_call("reports.customer", n, at, kwargs))
        started_at = at + timedelta(milliseconds=150)
        if n < 3:
            fleet.run(call, REPORTS, started_at, 21.5, {"pages": 12})
        elif n == 3:
            fleet.start(call, REPORTS, started_at)


def _consume_no_imports(fleet: RecordedFleet) -> None:
    """Publish tasks into a queue that no worker consumes."""
    for n in range(3):
        at = night(0, 30) + n * HOUR
        kwargs = {"supplier": f"supplier-{n + 1}"}
        fleet.publish(make_call("imports.catalog", n, at, kwargs))


def _close_month(fleet: RecordedFleet) -> None:
    """Begin a workflow: a chord whose last step waits for the silent worker."""
    month = {"month": "2026-10"}
    root = make_call("invoices.close_month", "2026-10", night(2, 18), month)
    mail = _signature("emails.send", "close_month", to="accounting@example.com")
    bundle = _signature("invoices.bundle", "2026-10", month="2026-10")
    bundle["options"]["link"] = [mail]
    fleet.publish(root)
    fleet.run(root, INVOICES[0], root.at + timedelta(milliseconds=70), 3.2, None)
    group_id = task_id("header of close_month")
    chord = {"chord": {**bundle, "chord_size": 5}}
    place = {"root_id": root.id, "parent_id": root.id, "group_id": group_id}
    for n, name in enumerate([*["invoices.render"] * 4, "reports.month"]):
        at, kwargs = root.at + timedelta(seconds=3), {**month, "part": n + 1}
        others: Any = {**place, **BILLING, "embedded": chord}
        step = make_call(name, f"close_month {n}", at, kwargs, **others)
        fleet.publish(step)
        if name == "invoices.render":
            at = step.at + timedelta(seconds=0.1 + 14 * n)
            fleet.run(step, INVOICES[n % 2], at, 41.0 - 6 * n, {"pages": 310})


def _signature(name: str, key: str, **kwargs: object) -> dict[str, Any]:
    id = task_id(f"{name} {key}")
    options: dict[str, Any] = {"task_id": id, "queue": name.partition(".")[0]}
    return {"task": name, "args": [], "kwargs": kwargs, "options": options}


#: The name of an entry of the schedule, its task, its schedule and the time zone.
_Entry = tuple[str, str, str, str | None]


def _schedule(fleet: RecordedFleet) -> None:
    """Send what is due, until beat is down at 02:58; it has missed a run before."""
    every = "every 600s"
    outbox: _Entry = ("clear outbox", "emails.clear_outbox", every, None)
    daily: _Entry = ("daily report", "reports.daily", "0 3 * * *", "UTC")
    month: _Entry = ("close month", "invoices.close_month", "0 3 1 * *", "UTC")
    entries = [
        [*outbox, night(3, 8).isoformat()],
        [*daily, night(3).isoformat()],
        [*month, night(3).replace(month=12, day=1).isoformat()],
    ]
    runs = [(daily, night(3, days=1), night(3), REPORTS, 95.0)]
    tens = (night(0, 8) + n * 10 * MINUTE for n in range(18))
    missed = (night(1, 28), night(1, 38))
    runs += [
        (outbox, at, at + 10 * MINUTE, EMAILS, 1.1) for at in tens if at not in missed
    ]
    for entry, due_at, next_at, worker, run_s in runs:
        at = due_at + timedelta(milliseconds=14)
        key, beat = f"{entry[0]} {due_at}", dict[str, Any](BEAT_ATTRIBUTES)
        call = make_call(entry[1], key, at, {}, **beat)
        run: dict[str, Any] = {
            **{"entry": entry[0], "id": call.id, "schedule": entry[2]},
            **{"timezone": entry[3], "due_at": due_at.isoformat()},
            **{"next_at": next_at.isoformat(), "max_interval_s": 300},
            **{"started_at": night(23, days=2).isoformat(), "entries": entries},
        }
        call = replace(call, headers={BEAT: run})
        fleet.publish(call)
        fleet.run(call, worker, at + timedelta(milliseconds=60), run_s, None)


def _leave_untracked(fleet: RecordedFleet) -> None:
    """Run tasks of a service that does not send copies of its messages."""
    for n in range(3):
        at = night(2, 5) + n * 20 * MINUTE
        call = make_call("legacy.sync", n, at, {"batch": n}, service=None, sender="vm1")
        fleet.run(call, LEGACY, at + timedelta(milliseconds=80), 4.2 + n, n)


def _quarantine(fleet: RecordedFleet) -> None:
    """Receive a pickled message of an old service."""
    body: Any = b"\x80\x04\x95"
    message = Message(
        body=body,
        content_type="application/x-python-serialize",
        content_encoding="binary",
        delivery_info={"routing_key": "exports"},
        headers={"id": task_id("pickled"), "task": "exports.customer"},
    )
    fleet.quarantine(message, at=night(2, 41, 7))


def _wait_for_times(fleet: RecordedFleet) -> None:
    """Publish a mail with an ETA ahead, and one that expires."""
    at = night(2, 50)
    kwargs = {"order_id": ORDER, "to": f"customer{CUSTOMER}@example.com"}
    fleet.publish(make_call("emails.remind", ORDER, at, kwargs, eta=night(8)))
    expires = {"expires": night(3).isoformat()}
    digest = {"day": "2026-11-26"}
    fleet.publish(make_call("emails.digest", 1, night(2, 30), digest, headers=expires))

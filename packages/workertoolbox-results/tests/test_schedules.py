"""Entries of beat's schedule: how their runs are stored and shown."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from itertools import permutations
from typing import Any

import pytest
from celery import Celery
from celery.bin.celery import celery
from click.testing import CliRunner, Result
from messages import message
from sqlalchemy import insert, select

from cadasta.workertoolbox.results import Schedule, ScheduleNotFound, TaskStore
from cadasta.workertoolbox.results._database.tables import monitor, schedule
from cadasta.workertoolbox.results._monitor.message import read_task
from cadasta.workertoolbox.results._monitor.upserts import write_batch
from cadasta.workertoolbox.results._schedules.occurrences import count_moments
from cadasta.workertoolbox.results._schedules.runs import MAX_KEPT, Run, RunLog
from cadasta.workertoolbox.results._schedules.words import in_words

#: The first run of most entries.
START = datetime(2026, 3, 2, 2, 30, tzinfo=UTC)

HOURLY = "30 * * * *"


def at(minutes: float) -> datetime:
    return START + timedelta(minutes=minutes)


def run(
    sent: float,
    *,
    due: float | None = None,
    every: float = 60,
    beat: str = "1",
    schedule: str = HOURLY,
) -> Run:
    """Return a run; times are in minutes from `START`."""
    due = sent if due is None else due
    next_at = sent + every if schedule != HOURLY else 60 * (sent // 60 + 1)
    return Run(
        task_id=f"{beat}:{sent}",
        sent_at=at(sent),
        due_at=at(due),
        next_at=at(next_at),
        beat=beat,
        schedule=schedule,
        timezone="UTC",
    )


def counts(runs: Sequence[Run]) -> tuple[int, int, int]:
    log = RunLog().add(runs)
    return log.count, log.all_missed, log.all_doubled


EVERY_HOUR = "every 3600s"


@pytest.mark.parametrize(
    ("runs", "missed", "doubled"),
    [
        # In time; late by less than an interval.
        ([run(0), run(60), run(119.9, due=120), run(121)], 0, 0),
        # Beat was down, and its schedule is kept: one late run for four of them.
        ([run(0), run(200, due=60), run(240)], 2, 0),
        # It was down, and its schedule is not kept.
        ([run(0), run(240)], 3, 0),
        ([run(0, schedule=EVERY_HOUR), run(217, schedule=EVERY_HOUR)], 2, 0),
        # The schedule has changed.
        ([run(0), run(500, schedule=EVERY_HOUR)], 0, 0),
        # Two processes of beat, with a crontab and with an interval.
        ([run(n + 0.1 * b, due=n, beat=f"{b}") for n in (0, 60) for b in (1, 2)], 0, 2),
        (
            [
                run(n + 20 * b, beat=f"{b}", schedule=EVERY_HOUR)
                for n in (0, 60, 120)
                for b in (1, 2)
            ],
            *(0, 2),  # Whether the last one is doubled is not known yet.
        ),
        # Beat was restarted, or taken over by another process.
        ([run(0), run(60), run(120, beat="2"), run(180, beat="2")], 0, 0),
        (
            [
                run(0, schedule=EVERY_HOUR),
                run(70, beat="2", schedule=EVERY_HOUR),
                run(190, schedule=EVERY_HOUR),
            ],
            *(1, 0),
        ),
        # Beat was killed before it had stored its schedule, and sends a run again.
        ([run(0), run(60), run(62, due=60, beat="2"), run(120, beat="2")], 0, 1),
    ],
)
def test_missed_and_doubled_runs_are_counted_in_any_order(
    runs: list[Run], missed: int, doubled: int
) -> None:
    log = RunLog()
    for each in [*reversed(runs), *runs]:
        log = log.add([each])

    assert counts(runs) == (len(runs), missed, doubled)
    assert (log.count, log.all_missed, log.all_doubled) == counts(runs)
    assert RunLog.from_json(json.loads(json.dumps(log.as_json()))) == log


def test_numbers_stay_when_old_runs_are_dropped() -> None:
    runs = [run(120 * n) for n in range(3 * MAX_KEPT)]
    runs += [run(120 * n + 1, due=120 * n, beat="2") for n in range(3 * MAX_KEPT)]
    runs.sort(key=lambda each: each.sent_at)
    log = RunLog()
    for first, second in zip(runs[::2], runs[1::2], strict=True):
        log = log.add([second]).add([first])
    again = log.add(runs[:MAX_KEPT])

    assert len(log.runs) == MAX_KEPT
    assert (log.count, log.all_missed, log.all_doubled) == counts(runs)
    assert counts(runs) == (6 * MAX_KEPT, 3 * MAX_KEPT - 1, 3 * MAX_KEPT)
    assert again == log


@pytest.mark.parametrize(
    ("text", "zone", "days", "count"),
    [
        ("30 2 * * *", "UTC", 3, 3),
        ("30 2 * * mon-fri", "UTC", 7, 5),
        # The clock moves forward on 29 March.
        ("30 2 * * *", "Europe/Berlin", 30, 30),
        ("*/15 * * * *", "UTC", 1, 96),
        ("* * * * *", "UTC", 3, 1000),
        ("every 0.5s", None, 1, 1000),
        ("every 43200s", None, 3, 6),
        ("solar sunset 52.5 13.4", None, 3, 3),
        ("61 * * * *", "UTC", 3, 3),
        ("30 2 * * *", "Nowhere", 3, 3),
    ],
)
def test_moments_of_a_schedule_are_counted(
    text: str, zone: str | None, days: int, count: int
) -> None:
    until = START + timedelta(days=days)
    period = timedelta(days=1)

    assert count_moments(text, zone, START, until, period=period) == count
    assert count_moments(text, zone, until, START, period=period) == 0


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("* * * * *", "every minute"),
        ("*/15 * * * *", "every 15 minutes"),
        ("0 * * * *", "every hour"),
        ("5,35 * * * *", "every hour at minute 5 and 35"),
        ("0 */6 * * *", "every 6 hours"),
        ("10 */6 * * *", "every 6 hours at minute 10"),
        ("30 2 * * *", "every day at 02:30"),
        ("0 8,12,18 * * *", "every day at 08:00, 12:00 and 18:00"),
        ("30 2 * * 1", "every Monday at 02:30"),
        ("30 2 * * mon-fri", "on Monday to Friday at 02:30"),
        ("30 2 * * sat,sun", "on Saturday and Sunday at 02:30"),
        (
            "*/10 9-17 * * mon-fri",
            "every 10 minutes from 09:00 to 17:59 on Monday to Friday",
        ),
        ("0 4 1 * *", "on day 1 of every month at 04:00"),
        ("0 4 1,15 3 *", "on day 1 and 15 of March at 04:00"),
        ("0 4 * jun *", "every day in June at 04:00"),
        ("every 1s", "every second"),
        ("every 0.5s", "every 0.5 seconds"),
        ("every 90s", "every 90 seconds"),
        ("every 900s", "every 15 minutes"),
        ("every 86400s", "every day"),
        ("solar dawn_civil 52.5 13.4", "at dawn civil at 52.5, 13.4"),
        ("at 2026-01-02T03:04:05+00:00", "once at 2026-01-02 03:04:05+00:00"),
    ],
)
def test_a_common_schedule_is_shown_in_words(text: str, words: str) -> None:
    assert in_words(text) == words


@pytest.mark.parametrize(
    "text",
    [
        *("*/7 * * * *", "1-59/2 * * * *", "0 4 1 * mon", "0 4 */2 * *", "0 4 * * 9"),
        *("0 1-5/2 * * *", "<schedule of mine>", "a b c d e", ""),
        f"every {'9' * 400}s",
    ],
)
def test_any_other_schedule_is_shown_as_it_is(text: str) -> None:
    assert in_words(text) == text


@pytest.fixture
def store(url: str) -> Iterator[TaskStore]:
    with TaskStore(url) as store:
        yield store


def headers(
    entry: str, sent_at: datetime, *, id: str = "", service: str = "billing", **run: Any
) -> dict[str, Any]:
    """Return the headers of a message of beat."""
    id = id or f"{entry} {sent_at.isoformat()}"
    described = {"schedule": "every 60s", "max_interval_s": 5, "entry": entry, "id": id}
    return {
        "id": id,
        "root_id": id,
        "task": f"export.{entry}",
        "origin": "gen1@host",
        "workertoolbox_service": service,
        "workertoolbox_published_at": sent_at.isoformat(),
        "workertoolbox_beat": {
            **described,
            "due_at": (sent_at - timedelta(seconds=2)).isoformat(),
            "next_at": (sent_at + timedelta(seconds=60)).isoformat(),
            "started_at": START.isoformat(),
            **run,
        },
    }


def write(store: TaskStore, *batches: Sequence[dict[str, Any]]) -> None:
    for batch in batches:
        records = [
            read_task(message(**one), seen_at=datetime.now(UTC)) for one in batch
        ]
        with store.engine.begin() as connection:
            write_batch(connection, records)


def entries(store: TaskStore) -> dict[str, Schedule]:
    return {each.entry: each for each in store.schedules(removed=True)}


def listed(*names: str, next_at: datetime) -> list[list[str | None]]:
    return [
        [name, f"export.{name}", "0 4 * * *", "UTC", next_at.isoformat()]
        for name in names
    ]


def test_an_entry_shows_its_last_run(store: TaskStore) -> None:
    now = datetime.now(UTC)
    sent_at = now - timedelta(seconds=30)
    write(store, [headers("ping", sent_at)])
    [found] = store.schedules()

    assert (found.entry, found.service, found.name) == (
        "ping",
        "billing",
        "export.ping",
    )
    assert (found.schedule, found.words) == ("every 60s", "every minute")
    assert found.last is not None
    assert (found.last.task_id, found.last.status) == (
        f"ping {sent_at.isoformat()}",
        "QUEUED",
    )
    assert (found.last.sent_at, found.last.late_s) == (sent_at, 2)
    assert found.next_at == sent_at + timedelta(seconds=60)
    assert (found.origin, found.started_at) == ("gen1@host", START)
    assert (found.count, found.missed, found.doubled) == (1, 0, 0)
    assert not found.overdue and not found.removed


def test_rows_do_not_depend_on_the_order_of_messages(store: TaskStore) -> None:
    now = datetime.now(UTC)
    times = [now - timedelta(seconds=each) for each in (400, 220, 160)]
    lists: list[dict[str, Any]] = [
        {"entries": listed("ping", "new", next_at=now)},
        {"entries": [["ping"]]},
        {},
    ]
    messages = [
        headers("ping", sent_at, **listing)
        for sent_at, listing in zip(times, lists, strict=True)
    ]
    second = times[-1] + timedelta(seconds=1)
    due_at = (times[-1] - timedelta(seconds=2)).isoformat()
    messages.append(headers("ping", second, due_at=due_at, next_at=None))
    seen = []
    for order in permutations(messages):
        with store.engine.begin() as connection:
            connection.execute(schedule.delete())
        for batches in ([[each] for each in order], [order]):
            write(store, *batches)
            with store.engine.begin() as connection:
                rows = connection.execute(select(schedule).order_by(schedule.c.entry))
                seen.append(rows.all())

    assert all(rows == seen[0] for rows in seen)
    by_entry = entries(store)
    assert (by_entry["ping"].count, by_entry["ping"].missed) == (4, 2)
    assert by_entry["ping"].doubled == 1
    assert by_entry["new"].last is None and by_entry["new"].removed
    assert by_entry["new"].words == "every day at 04:00"


def test_an_entry_is_overdue_until_a_list_without_it_arrives(store: TaskStore) -> None:
    now = datetime.now(UTC)
    hour = timedelta(hours=1)
    write(
        store,
        [
            headers("ping", now, entries=listed("ping", "late", "soon", next_at=now)),
            headers("quick", now, entries=listed("never", next_at=now - hour / 60)),
            headers("late", now - hour),
            headers("soon", now - timedelta(seconds=62)),
            headers("yearly", now - hour, next_at=(now + hour).isoformat()),
            headers("once", now - hour, next_at=None),
            headers("late", now - hour, service="other"),
        ],
    )
    overdue = {(each.service, each.entry) for each in store.schedules() if each.overdue}
    # Of billing's entry, the list says that it is due now. One has never been sent.
    assert overdue == {("other", "late"), ("billing", "never")}
    without_tasks = store.overdue_schedules()
    assert {(each.service, each.entry) for each in without_tasks} == overdue
    write(store, [headers("late", now + timedelta(seconds=1), next_at=now.isoformat())])
    with store.engine.begin() as connection:
        connection.execute(
            schedule.update()
            .where(schedule.c.entry == "late")
            .values(next_at=now - hour)
        )
    assert entries(store)["late"].overdue
    write(store, [headers("ping", now + timedelta(seconds=2), entries=[["ping"]])])

    billing = [
        each for each in store.schedules(removed=True) if each.service == "billing"
    ]
    assert {each.entry for each in billing if each.removed} == {
        *("late", "never", "quick", "soon", "yearly", "once")
    }
    assert not any(each.overdue for each in billing)
    assert {each.entry for each in store.overdue_schedules()} == {"late"}
    assert {each.entry for each in store.schedules()} == {"ping", "late"}


def test_an_older_list_does_not_hide_that_an_entry_is_overdue(store: TaskStore) -> None:
    now = datetime.now(UTC)
    ago = [now - timedelta(minutes=each) for each in (30, 20, 10)]
    # As of a scheduler that lists only what is due soon.
    write(
        store,
        [headers("nightly", ago[0], next_at=ago[2].isoformat())],
        [headers("ping", ago[1], entries=[["ping"]])],
    )

    assert entries(store)["nightly"].overdue


def test_messages_that_no_monitor_has_read_may_contain_the_run(
    store: TaskStore,
) -> None:
    now = datetime.now(UTC)
    write(store, [headers("ping", now - timedelta(minutes=10))])
    assert entries(store)["ping"].overdue
    report = {"read_until": now - timedelta(minutes=9.5), "reported_at": now}
    with store.engine.begin() as connection:
        connection.execute(insert(monitor).values(id="m", **report))

    assert not entries(store)["ping"].overdue
    assert entries(store)["ping"].known_until == report["read_until"]
    assert store.completeness().read_until == report["read_until"]


def test_entries_that_are_neither_sent_nor_listed_are_deleted(store: TaskStore) -> None:
    now = datetime.now(UTC)
    old = now - timedelta(days=40)
    write(
        store,
        [headers("old", old), headers("old", old, service="gone")],
        [headers("yearly", old, next_at=(now + timedelta(days=300)).isoformat())],
    )
    assert [each.entry for each in store.schedules()] == ["yearly"]
    write(store, [headers("ping", now, entries=[["ping"]])])
    with store.engine.begin() as connection:
        rows = {*connection.execute(select(schedule.c.service, schedule.c.entry))}

    assert rows == {("gone", "old"), ("billing", "yearly"), ("billing", "ping")}


def test_an_entry_can_be_forgotten(store: TaskStore) -> None:
    now = datetime.now(UTC)
    write(store, [headers("ping", now), headers("ping", now, service="other", id="2")])
    store.forget_schedule("ping", service="other")
    with pytest.raises(ScheduleNotFound, match="no entry 'ping'"):
        store.forget_schedule("ping", service="other")

    assert [each.service for each in store.schedules()] == ["billing"]


@pytest.mark.parametrize(
    "beat",
    [
        *("nightly", 5, [], {"entry": 5, "id": "1"}, {"entry": "", "id": "1"}),
        {"entry": "nightly", "id": "2"},
    ],
)
def test_a_message_that_beat_has_not_described_changes_nothing(
    store: TaskStore, beat: Any
) -> None:
    write(store, [{"workertoolbox_beat": beat}])

    assert store.get("1").id == "1"
    assert store.schedules() == []


def test_values_of_a_wrong_type_count_as_unknown(store: TaskStore) -> None:
    wrong: dict[str, Any] = {
        **{"schedule": 5, "timezone": [], "due_at": "soon", "next_at": 5},
        **{"started_at": None, "max_interval_s": "5", "entries": [["a"], 5]},
    }
    write(store, [headers("odd", datetime.now(UTC), **wrong)])
    [found] = store.schedules()

    assert (found.schedule, found.words, found.timezone) == ("", "", None)
    assert (found.next_at, found.started_at, found.overdue) == (None, None, False)
    assert found.last is not None and found.last.late_s is None


def test_the_retry_of_a_task_is_the_same_run(store: TaskStore) -> None:
    now = datetime.now(UTC)
    sent = headers("ping", now)
    later = (now + timedelta(seconds=9)).isoformat()
    retry = {**sent, "retries": 1, "workertoolbox_published_at": later}
    write(store, [retry], [sent], [retry])
    [found] = store.schedules()

    assert (found.count, found.doubled) == (1, 0)
    assert found.last is not None and found.last.sent_at == now


def invoke(app: Celery, *words: str) -> Result:
    arguments: Any = ["-A", app, "tasks", "schedules", *words]
    return CliRunner().invoke(celery, arguments)


def test_the_command_shows_entries_and_its_exit_code_says_if_one_is_overdue(
    store: TaskStore, app: Celery
) -> None:
    now = datetime.now(UTC)
    write(store, [headers("ping", now)])
    fine = invoke(app, "--exit-code")
    write(store, [headers("late", now - timedelta(hours=1), service="other")])
    table, code = invoke(app), invoke(app, "--exit-code")
    lines = [json.loads(line) for line in invoke(app, "--json").output.splitlines()]

    assert (fine.exit_code, table.exit_code, code.exit_code) == (0, 0, 1)
    header, ping, late = table.output.splitlines()
    assert header.split() == (
        "service entry schedule last late status run missed doubled next".split()
    )
    assert "every minute" in ping and "2.0 s" in ping and "QUEUED" in ping
    assert late.endswith("overdue") and not ping.endswith("overdue")
    assert [line["overdue"] for line in lines] == [False, True]
    assert lines[0]["words"] == "every minute" and lines[0]["status"] == "QUEUED"


def test_the_command_forgets_an_entry(store: TaskStore, app: Celery) -> None:
    write(store, [headers("ping", datetime.now(UTC))])
    wrong = invoke(app, "--service", "billing")
    unknown = invoke(app, "--forget", "pong")
    known = invoke(app, "--forget", "ping", "--service", "billing")

    assert (wrong.exit_code, unknown.exit_code, known.exit_code) == (2, 1, 0)
    assert "no entry 'pong'" in unknown.output
    assert store.schedules() == []

"""Why a task, or its next message, is not known."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta

import pytest
from messages import message
from stored_tasks import MINUTE, publish, store_ended, store_state

from cadasta.workertoolbox.results import Cause, Reason, TaskStore
from cadasta.workertoolbox.results._history.horizon import report_progress
from cadasta.workertoolbox.results._monitor.quarantine_record import quarantine_record
from cadasta.workertoolbox.results._monitor.upserts import write_batch
from cadasta.workertoolbox.results._store.why import unseen
from cadasta.workertoolbox.results._store.why.reason import Clock, Finding
from cadasta.workertoolbox.results._store.why.unseen import (
    BEHIND_S,
    explain_missing_message,
    explain_unknown,
    read_monitors,
)

NO_TIME = timedelta()
SECOND = timedelta(seconds=1)
HOUR = 60 * MINUTE

#: Ages of what a monitor has read and of its report, by its id.
Reports = Mapping[str, tuple[timedelta | None, timedelta]]


def report(store: TaskStore, now: datetime, reports: Reports) -> None:
    with store.engine.begin() as connection:
        for id, (unread, age) in reports.items():
            read_until = None if unread is None else now - unread
            report_progress(connection, id, read_until=read_until, now=now - age)


def explained(store: TaskStore, now: datetime, id: str = "x") -> Finding:
    with store.engine.connect() as connection:
        return explain_unknown(connection, Clock(now, now.tzinfo), id)


def quarantine(store: TaskStore, id: str, reason: str, seen_at: datetime) -> None:
    record = quarantine_record(message([reason], id=id), reason=reason, seen_at=seen_at)
    with store.engine.begin() as connection:
        write_batch(connection, [record])


@pytest.mark.parametrize(
    ("reports", "unread", "reported", "is_running"),
    [
        ({}, None, None, False),
        ({"a": (SECOND, NO_TIME)}, SECOND, NO_TIME, True),
        # Of those that run, the one that is furthest behind counts.
        ({"a": (SECOND, SECOND), "b": (HOUR, MINUTE)}, HOUR, SECOND, True),
        ({"a": (SECOND, SECOND), "b": (None, MINUTE)}, None, SECOND, True),
        ({"a": (None, NO_TIME)}, None, NO_TIME, True),
        # Those that have stopped do not count beside it.
        ({"a": (MINUTE, NO_TIME), "b": (HOUR, HOUR)}, MINUTE, NO_TIME, True),
        ({"a": (MINUTE, NO_TIME), "b": (NO_TIME, HOUR)}, MINUTE, NO_TIME, True),
        ({"a": (MINUTE, NO_TIME), "b": (None, HOUR)}, MINUTE, NO_TIME, True),
        ({"a": (None, NO_TIME), "b": (HOUR, HOUR)}, None, NO_TIME, True),
        # Without one that runs, the one that was furthest ahead counts.
        ({"a": (2 * HOUR, HOUR), "b": (HOUR, HOUR)}, HOUR, HOUR, False),
        ({"a": (2 * HOUR, HOUR), "b": (None, 2 * HOUR)}, 2 * HOUR, HOUR, False),
        ({"a": (None, HOUR)}, None, HOUR, False),
    ],
)
def test_the_monitors_that_run_say_what_has_been_read(
    store: TaskStore,
    now: datetime,
    reports: Reports,
    unread: timedelta | None,
    reported: timedelta | None,
    is_running: bool,
) -> None:
    report(store, now, reports)
    with store.engine.connect() as connection:
        monitors = read_monitors(connection, now)
    read_until = None if unread is None else now - unread

    assert monitors.evidence(Clock(now, None)) == {
        "monitors_running": is_running,
        "monitors_reported_at": None if reported is None else now - reported,
        "monitors_read_until_at": read_until,
        "monitors_behind_s": (
            unread.total_seconds() if unread is not None and is_running else None
        ),
    }


def test_a_monitor_whose_clock_is_ahead_is_not_behind(
    store: TaskStore, now: datetime
) -> None:
    report(store, now, {"a": (-MINUTE, NO_TIME)})
    with store.engine.connect() as connection:
        assert read_monitors(connection, now).behind_s(Clock(now, None)) == 0.0


@pytest.mark.parametrize(
    ("reports", "cause"),
    [
        ({"a": (timedelta(seconds=BEHIND_S), NO_TIME)}, None),
        ({"a": (timedelta(seconds=BEHIND_S + 1), NO_TIME)}, Cause.MONITOR_BEHIND),
        ({"a": (timedelta(seconds=0.5), NO_TIME)}, None),
        ({"a": (None, NO_TIME)}, Cause.MONITOR_BEHIND),
        ({"a": (HOUR, HOUR)}, Cause.NO_MONITOR),
        ({}, Cause.NO_MONITOR),
    ],
)
def test_a_message_may_be_missing_because_of_the_monitors(
    store: TaskStore, now: datetime, reports: Reports, cause: Cause | None
) -> None:
    report(store, now, reports)
    with store.engine.connect() as connection:
        clock = Clock(now, now.tzinfo)
        found = explain_missing_message(connection, clock, "waits for its step")

    assert (None if found is None else found.cause) == cause
    assert found is None or found.predicate.startswith("waits for its step, but ")
    assert found is None or found.evidence["monitors_running"] == ("a" in reports) * (
        cause is Cause.MONITOR_BEHIND
    )


@pytest.mark.parametrize(
    ("reports", "words"),
    [
        ({}, "but no monitor is running: none has reported within a day"),
        (
            {"a": (None, 2 * HOUR)},
            "but no monitor is running: the last report was at {at} (2.0 h ago)",
        ),
        (
            {"a": (2 * HOUR, NO_TIME)},
            "but the monitors are behind: they have read the messages published until "
            "{at} (2.0 h ago)",
        ),
        (
            {"a": (None, NO_TIME)},
            "but the monitors have just started, and have not reported how far they "
            "have read",
        ),
    ],
)
def test_an_unknown_id_may_be_that_of_an_unread_message(
    store: TaskStore, now: datetime, reports: Reports, words: str
) -> None:
    report(store, now, reports)
    at = f"{now - 2 * HOUR:%Y-%m-%d %H:%M:%S}"

    assert explained(store, now).predicate == (
        f"has not been seen by a monitor or a worker, {words.format(at=at)}"
    )


def test_an_id_is_unknown_if_all_messages_have_been_read(
    store: TaskStore, now: datetime
) -> None:
    report(store, now, {"a": (SECOND, NO_TIME)})
    found = explained(store, now)

    assert found.cause == Cause.UNKNOWN
    assert found.predicate == (
        "is not known: no monitor and no worker has seen it, and the monitors are not "
        "behind; the id is wrong, the task was purged, or it was published without the "
        "toolbox, and has not run yet or a worker without the toolbox ran it"
    )
    assert found.evidence["monitors_behind_s"] == 1.0


def test_the_id_of_a_group_has_its_number_of_tasks(
    store: TaskStore, now: datetime
) -> None:
    publish(store, "export", "1", "2", group="g")
    store_ended(store, "3", group_id="g")
    store_state(store, "4", "SUCCESS", group_id="other")
    found = explained(store, now, "g")

    assert found.cause == Cause.UNKNOWN
    assert found.predicate == (
        "is not a task but a group of 3 tasks; `tasks show g` shows them"
    )
    assert found.evidence == {"group_size": 3}


def test_the_newest_message_in_quarantine_is_explained(
    store: TaskStore, now: datetime
) -> None:
    for age, reason in enumerate(("not JSON\nat all", "too large\nby far")):
        quarantine(store, "x", reason, now - 2 * HOUR + age * HOUR)
    quarantine(store, "y", "of another task", now)
    found = explained(store, now)
    number = found.evidence["quarantine_id"]

    assert found.cause == Cause.QUARANTINED
    assert found.predicate == (
        f"has a message in quarantine, which a monitor could not read at "
        f"{now - HOUR:%Y-%m-%d %H:%M:%S} (1.0 h ago): too large; `tasks quarantine "
        f"show {number}` shows it, and workers may have run the task"
    )
    assert found.evidence == {
        "quarantine_id": number,
        "reason": "too large\nby far",
        "seen_at": now - HOUR,
    }


def test_only_the_newest_messages_in_quarantine_are_looked_at(
    store: TaskStore, now: datetime, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unseen, "MAX_QUARANTINED", 2)
    for id in "xyz":
        quarantine(store, id, "not JSON", now)
    causes = {id: explained(store, now, id).cause for id in "xyz"}

    assert causes == {
        "x": Cause.NO_MONITOR,
        "y": Cause.QUARANTINED,
        "z": Cause.QUARANTINED,
    }


def test_an_unknown_id_is_a_reason(store: TaskStore, now: datetime) -> None:
    reason = store.why("x")

    assert isinstance(reason, Reason)
    assert (reason.id, reason.name, reason.status) == ("x", None, None)

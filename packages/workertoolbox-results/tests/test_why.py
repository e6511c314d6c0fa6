"""Why a task has not run, has not finished, or how it ended."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from celery import states
from messages import message
from sqlalchemy import insert
from stored_tasks import MINUTE, publish, store_ended, store_state

from cadasta.workertoolbox.results import Cause, Reason, TaskStore
from cadasta.workertoolbox.results._database import tables
from cadasta.workertoolbox.results._history.horizon import report_progress
from cadasta.workertoolbox.results._history.rollup import add_contributions
from cadasta.workertoolbox.results._history.tally import Contribution
from cadasta.workertoolbox.results._monitor.quarantine_record import quarantine_record
from cadasta.workertoolbox.results._monitor.upserts import write_batch
from cadasta.workertoolbox.results._store.why.reason import NORMAL

HOUR = 60 * MINUTE


def error(kind: str, text: str = "no") -> bytes:
    """Return an exception as a worker stores it."""
    return json.dumps({"exc_type": kind, "exc_message": [text]}).encode()


def fail(store: TaskStore, id: str, kind: str, text: str = "no", **values: Any) -> None:
    status = values.pop("status", states.FAILURE)
    store_state(store, id, status, result=error(kind, text), **values)


def found(store: TaskStore, id: str = "1") -> tuple[Cause, bool, str]:
    """Return the cause, whether it is trouble, and the sentence."""
    reason = store.why(id)
    json.dumps(reason.as_json())
    return reason.cause, reason.is_trouble, reason.sentence


def report(
    store: TaskStore, read_until: datetime | None, at: datetime | None = None
) -> None:
    """Store that a monitor has read until a time, and has reported now by default."""
    now = at or datetime.now(UTC)
    with store.engine.begin() as connection:
        report_progress(connection, "m", read_until=read_until, now=now)


def make_usual(store: TaskStore, name: str, **seconds: Any) -> None:
    """Store the figures of a hundred tasks of a name."""
    ended = Contribution(name, "export", "SUCCESS", datetime.now(UTC), **seconds)
    with store.engine.begin() as connection:
        add_contributions(connection, [ended] * 100)


# Ends


def test_a_success_is_no_trouble_and_says_when_where_and_how_long(
    store: TaskStore, now: datetime
) -> None:
    at = now - 2 * HOUR
    store_ended(store, "1", at=at, started_at=at - MINUTE, worker="a@host", retries=1)
    cause, is_trouble, sentence = found(store)

    assert (cause, is_trouble) == (Cause.SUCCEEDED, False)
    assert sentence == (
        f"a[1] succeeded at {at:%Y-%m-%d %H:%M:%S} (2.0 h ago) on a@host after 1 retry"
        "; it ran for 1.0 min."
    )


def test_a_failure_has_the_first_line_of_its_error_and_its_group(
    store: TaskStore, now: datetime
) -> None:
    publish(store, "export", "1", at=now - HOUR)
    row = {"id": "1:ab", "version": 1, "first_at": now - 3 * HOUR, "last_at": now}
    row |= {"count": 41, "retries": 0, "state": "open"}
    with store.engine.begin() as connection:
        connection.execute(insert(tables.error_group).values(row))
    fail(
        store, "1", "ValueError", "no map\nof this", worker="a@host", error_group="1:ab"
    )
    reason = store.why("1")

    assert reason.cause == Cause.FAILED and reason.is_trouble
    assert " on a@host with ValueError: no map (error group 1:ab: 41 errors since " in (
        reason.sentence
    )
    assert reason.evidence["error"] == "ValueError: no map"
    assert reason.evidence["group_count"] == 41


@pytest.mark.parametrize(
    ("kind", "cause"),
    [
        ("TimeLimitExceeded", Cause.TIME_LIMIT),
        ("SoftTimeLimitExceeded", Cause.TIME_LIMIT),
        ("WorkerLostError", Cause.WORKER_LOST),
        ("NotRegistered", Cause.FAILED),
    ],
)
def test_an_error_of_celery_has_a_cause_of_its_own(
    store: TaskStore, now: datetime, kind: str, cause: Cause
) -> None:
    publish(store, "export", "1")
    fail(store, "1", kind, started_at=now)

    assert found(store)[:2] == (cause, True)


def test_a_message_that_a_worker_discarded_names_what_it_did_not_know(
    store: TaskStore,
) -> None:
    publish(store, "export", "1", "2", task="export.typo")
    fail(store, "1", "NotRegistered", "export.typo", worker="a@host")
    fail(store, "2", "InvalidTaskError", "nested too deep")
    unregistered, invalid = found(store, "1"), found(store, "2")

    assert unregistered[:2] == (Cause.NOT_REGISTERED, True)
    assert unregistered[2].endswith(
        "by a@host, which has no task called 'export.typo'."
    )
    assert invalid[0] == Cause.INVALID_MESSAGE
    assert invalid[2].endswith("by a worker: InvalidTaskError: nested too deep.")


@pytest.mark.parametrize(
    ("reason", "cause", "words"),
    [
        ("revoked", Cause.REVOKED, "was revoked at "),
        ("terminated", Cause.TERMINATED, "was terminated at "),
        ("purged from queue export", Cause.PURGED, "was purged from queue export at "),
        (
            "refused by the broker: no",
            Cause.REFUSED,
            "was refused by the broker: no at",
        ),
        ("expired", Cause.EXPIRED, "expired before a worker started it"),
    ],
)
def test_a_revocation_says_what_revoked_the_task(
    store: TaskStore, reason: str, cause: Cause, words: str
) -> None:
    publish(store, "export", "1")
    fail(store, "1", "TaskRevokedError", reason, status=states.REVOKED)
    result = found(store)

    assert result[:2] == (cause, True)
    assert words in result[2]


def test_an_expired_task_is_expired_before_the_archiver_has_closed_it(
    store: TaskStore, now: datetime
) -> None:
    expires = (now - MINUTE).isoformat()
    publish(store, "export", "1", at=now - 5 * MINUTE, expires=expires)
    cause, is_trouble, sentence = found(store)

    assert (cause, is_trouble) == (Cause.EXPIRED, True)
    assert "(1.0 min ago), before a worker started it; it was published at" in sentence


@pytest.mark.parametrize(
    ("status", "cause", "is_trouble", "words"),
    [
        ("IGNORED", Cause.IGNORED, False, "raised Ignore at "),
        ("REJECTED", Cause.REJECTED, True, "rejected its message at "),
        ("LOST", Cause.LOST, True, "is lost: a@host started it at "),
    ],
)
def test_other_ends_say_the_reason(
    store: TaskStore,
    now: datetime,
    status: str,
    cause: Cause,
    is_trouble: bool,
    words: str,
) -> None:
    publish(store, "export", "1")
    started: dict[str, Any] = {"worker": "a@host", "started_at": now - HOUR}
    store_state(store, "1", status, result=b'"not needed"', **started)
    reason = store.why("1")

    assert (reason.cause, reason.is_trouble) == (cause, is_trouble)
    assert words in reason.sentence
    assert reason.evidence["reason"] == "not needed"


def test_a_task_whose_outcome_was_deleted_before_an_upgrade_says_so(
    store: TaskStore,
) -> None:
    publish(store, "export", "1")
    store_state(store, "1", states.IGNORED)

    assert found(store) == (
        Cause.IGNORED,
        False,
        "export.project[1] ended before an upgrade of the database, and its outcome "
        "was deleted.",
    )


def test_a_step_that_is_not_run_is_explained_by_the_task_before_it(
    store: TaskStore, now: datetime
) -> None:
    publish(store, "export", "1", task="export.fetch")
    fail(store, "1", "ValueError", "no map")
    not_run = "not run: export.fetch[1] failed"
    fail(store, "2", "ValueError", "no map", name="export.map", not_run=not_run)
    fail(store, "3", "ValueError", not_run="not run: export.gone[9] failed")
    reason = store.why("2")

    assert (reason.cause, reason.is_trouble) == (Cause.NOT_RUN, True)
    assert reason.because is not None
    assert (reason.because.id, reason.because.cause) == ("1", Cause.FAILED)
    assert reason.sentence.startswith(
        "export.map[2] was never published, because export.fetch[1] failed at "
    )
    assert found(store, "3")[2] == (
        "task[3] was never published, because export.gone[9] failed."
    )


# Running


def run(store: TaskStore, id: str, at: datetime, **values: Any) -> None:
    """Store a task that has run since an instant."""
    given = {"name": "export.project", "worker": "a@host", "queue": "export"}
    store_state(store, id, "STARTED", at=at, started_at=at, **given | values)


def test_a_running_task_is_compared_with_what_is_usual_for_its_name(
    store: TaskStore, now: datetime
) -> None:
    publish(store, "export", "1", "2", at=now - HOUR)
    run(store, "1", now - 2 * MINUTE)
    usual = "; 99 in 100 tasks of its name take up to "
    assert found(store)[:2] == (Cause.RUNNING, False)
    assert usual not in found(store)[2]
    make_usual(store, "export.project", ran_s=600.0)
    assert found(store)[:2] == (Cause.RUNNING, False)
    assert usual in found(store)[2]
    run(store, "2", now - 20 * MINUTE)
    store_state(store, "3", states.SUCCESS, at=now, worker="a@host", name="b")
    cause, is_trouble, sentence = found(store, "2")

    assert (cause, is_trouble) == (Cause.RUNNING_LONG, True)
    assert sentence.startswith("export.project[2] has been running on a@host since ")
    assert "(20.0 min ago)" in sentence and usual in sentence


def test_a_task_over_its_time_limit_runs_for_long(
    store: TaskStore, now: datetime
) -> None:
    publish(store, "export", "1", at=now - HOUR, timelimit=[90, None])
    run(store, "1", now - 2 * MINUTE)
    cause, _, sentence = found(store)

    assert cause == Cause.RUNNING_LONG
    assert sentence.endswith("; its time limit is 1.5 min.")


def test_a_task_that_runs_for_long_on_a_silent_worker_says_since_when(
    store: TaskStore, now: datetime
) -> None:
    publish(store, "export", "1", at=now - HOUR)
    make_usual(store, "export.project", ran_s=10.0)
    run(store, "1", now - 30 * MINUTE)
    cause, is_trouble, sentence = found(store)

    assert (cause, is_trouble) == (Cause.WORKER_SILENT, True)
    assert ", and a@host has stored nothing since then; 99 in 100" in sentence
    store_ended(store, "2", at=now - 20 * MINUTE, worker="a@host")
    reason = store.why("1")
    assert reason.cause == Cause.WORKER_SILENT
    assert reason.evidence["worker_seen_at"] == (now - 20 * MINUTE).isoformat()
    run(store, "4", now - 15 * MINUTE)
    seen_at = store.why("1").evidence["worker_seen_at"]
    assert seen_at == (now - 15 * MINUTE).isoformat()
    run(store, "3", now - MINUTE)
    assert store.why("1").cause == Cause.RUNNING_LONG


def test_a_task_that_was_delivered_again_names_the_workers_that_lost_it(
    store: TaskStore, now: datetime
) -> None:
    publish(store, "export", "1", at=now - 9 * MINUTE)
    lost = [
        {
            **dict.fromkeys(("queue", "error", "error_group", "traceback")),
            **{"retries": 0, "worker": f"{name}@host", "outcome": "LOST"},
            **{"published_at": None, "finished_at": None},
            "started_at": (now - minutes * MINUTE).isoformat(),
        }
        for name, minutes in (("b", 8), ("c", 6))
    ]
    run(store, "1", now, attempts=lost)
    cause, is_trouble, sentence = found(store)

    assert (cause, is_trouble) == (Cause.REDELIVERED, True)
    assert "has been delivered 3 times, because 2 runs on b@host and c@host" in sentence
    assert "and has been running on a@host since" in sentence


# Waiting


def test_a_task_with_an_eta_is_not_due(store: TaskStore, now: datetime) -> None:
    eta = now + 3 * HOUR + MINUTE
    publish(store, "export", "1", eta=eta.isoformat())
    cause, is_trouble, sentence = found(store)

    assert (cause, is_trouble) == (Cause.ETA, False)
    assert sentence == (
        f"export.project[1] is not due before its ETA at {eta:%Y-%m-%d %H:%M:%S} "
        "(in 3.0 h)."
    )


def test_a_queue_whose_tasks_do_not_start_has_no_worker(
    store: TaskStore, now: datetime
) -> None:
    publish(store, "export", "1", at=now - 20 * MINUTE)
    publish(store, "export", "0", "00", at=now - 25 * MINUTE)
    publish(store, "msg", "other", at=now - 25 * MINUTE)
    never = found(store)
    store_ended(store, "old", at=now - 3 * HOUR, worker="a@host")
    stopped = found(store)
    new = "2"
    publish(store, "export", new, at=now)

    assert never[:2] == stopped[:2] == (Cause.NO_CONSUMER, True)
    assert never[2].endswith(
        "(20.0 min ago), and no worker seems to consume queue export: no task of it "
        "has ever started or ended, and 2 tasks wait before it; or its workers run "
        "without the result backend of the toolbox, so that this database does not "
        "know what they have run."
    )
    at = f"{now - 3 * HOUR:%Y-%m-%d %H:%M:%S}"
    assert f": no task of it has started or ended since {at} (3.0 h ago)" in stopped[2]
    assert "result backend" not in stopped[2]
    assert found(store, new)[:2] == (Cause.WAITING, False)


def test_a_task_that_is_due_since_its_eta_waits_from_then_on(
    store: TaskStore, now: datetime
) -> None:
    eta = (now - 2 * MINUTE).isoformat()
    publish(store, "export", "1", at=now - 3 * HOUR, eta=eta)
    store_ended(store, "2", at=now - MINUTE, worker="a@host")

    assert store.why("1").evidence["due_at"] == (now - 2 * MINUTE).isoformat()
    assert found(store)[:2] == (Cause.WAITING, False)


def test_a_busy_queue_says_what_is_before_the_task_and_how_long_it_takes(
    store: TaskStore, now: datetime
) -> None:
    publish(store, "export", "1", at=now - 10 * MINUTE)
    publish(store, "export", *"abcd", at=now - 11 * MINUTE)
    store_state(store, "d", states.SUCCESS, at=now - MINUTE)
    ended = Contribution("a", "export", "SUCCESS", now - 2 * MINUTE)
    with store.engine.begin() as connection:
        add_contributions(connection, [ended] * 60)
    store_ended(store, "2", at=now - MINUTE, worker="a@host")
    cause, is_trouble, sentence = found(store)

    assert (cause, is_trouble) == (Cause.WAITING, False)
    assert "behind 3 tasks; a@host runs its tasks, at this rate for 30.0 s." in (
        sentence.replace("29.9 s", "30.0 s").replace("29.5 s", "30.0 s")
    )
    make_usual(store, "export.project", waited_s=100.0)
    cause, is_trouble, sentence = found(store)
    assert (cause, is_trouble) == (Cause.WAITING_LONG, True)
    assert "that 99 in 100 tasks of its name wait." in sentence


def test_workers_that_run_other_tasks_are_busy_and_not_missing(
    store: TaskStore, now: datetime
) -> None:
    publish(store, "export", "1", at=now - 10 * MINUTE)
    publish(store, "msg", "2", at=now - 40 * MINUTE)
    store_ended(store, "old", at=now - 50 * MINUTE, worker="a@host")
    run(store, "2", now - 30 * MINUTE, queue="msg")
    reason = store.why("1")

    assert (reason.cause, reason.is_trouble) == (Cause.BUSY, False)
    assert reason.because is not None and reason.because.id == "2"
    assert (
        "because the workers of the queue (a@host) are busy with 1 task: "
        "export.project[2], which has been running on a@host since "
    ) in reason.sentence
    make_usual(store, "export.project", ran_s=10.0)
    hanging = store.why("1")
    assert hanging.is_trouble and hanging.because is not None
    assert hanging.because.cause == Cause.WORKER_SILENT


def test_a_task_that_others_overtake_is_trouble(
    store: TaskStore, now: datetime
) -> None:
    publish(store, "export", "1", at=now - 10 * MINUTE)
    later = now - 5 * MINUTE
    publish(store, "export", "0", at=now - 11 * MINUTE)
    run(store, "0", now - MINUTE, published_at=now - 11 * MINUTE)
    assert found(store)[0] == Cause.WAITING
    publish(store, "export", "2", at=later)
    run(store, "2", now, published_at=later)
    assert found(store)[:2] == (Cause.OVERTAKEN, True)
    store_ended(store, "3", at=now, listed_at=later, started_at=later)
    cause, _, sentence = found(store)

    assert cause == Cause.OVERTAKEN
    assert "although 2 later tasks have started: a worker holds its message" in sentence
    assert found(store, "2")[0] == Cause.RUNNING


def test_what_happens_in_other_queues_does_not_count_for_a_waiting_task(
    store: TaskStore, now: datetime
) -> None:
    publish(store, "export", "1", at=now - 10 * MINUTE)
    later, at = now - 5 * MINUTE, now - MINUTE
    times = {"at": at, "started_at": at, "published_at": later}
    for queue, id, worker in (("export", "2", "a@host"), ("msg", "3", "b@host")):
        publish(store, queue, id, at=later)
        store_state(store, id, "SUCCESS", **times, queue=queue, worker=worker)
        ended = Contribution("a", queue, "SUCCESS", now - 2 * MINUTE)
        with store.engine.begin() as connection:
            add_contributions(connection, [ended] * 60)
    reason = store.why("1")
    evidence = reason.evidence

    assert "with it, a worker without the toolbox ran it, or" in reason.sentence
    assert (evidence["overtaken_by"], evidence["workers"]) == (1, ["a@host"])
    assert evidence["per_second"] == pytest.approx(0.1)


# Retries


def test_a_retry_waits_for_its_eta_and_then_for_a_worker(
    store: TaskStore, now: datetime
) -> None:
    publish(store, "export", "1", "2", at=now - 20 * MINUTE)
    values = {"retries": 0, "worker": "a@host"}
    for id in "12":
        fail(
            store, id, "OSError", "full", status="RETRY", at=now - 9 * MINUTE, **values
        )
    again: dict[str, Any] = {"retries": 1, "at": now - 9 * MINUTE}
    publish(store, "export", "1", eta=(now + 2 * MINUTE).isoformat(), **again)
    publish(store, "export", "2", **again)
    waiting, due = found(store, "1"), found(store, "2")

    assert waiting[:2] == (Cause.RETRY, False)
    assert "; attempt 1 ended at " in waiting[2]
    assert waiting[2].endswith("after OSError: full.")
    assert due[:2] == (Cause.NO_CONSUMER, True)
    assert "it waits for its retry: attempt 1 ended at" in due[2]


def test_a_retry_whose_message_is_missing_is_trouble_after_a_minute(
    store: TaskStore, now: datetime
) -> None:
    for id, ago in (("1", 5 * MINUTE), ("2", 0 * MINUTE)):
        publish(store, "export", id, at=now - HOUR)
        fail(store, id, "OSError", "full", status="RETRY", at=now - ago, retries=0)
    cause, _, sentence = found(store)
    assert cause == Cause.NO_MONITOR
    assert "none has reported within a day; attempt 1 ended at" in sentence
    report(store, now)
    lost = found(store, "1")
    assert lost[:2] == (Cause.RETRY_UNSEEN, True)
    assert "and the message of the retry has not been seen; attempt 1 ended" in lost[2]
    assert found(store, "2")[:2] == (Cause.RETRY, False)
    report(store, now - 10 * MINUTE)

    assert found(store, "1")[:2] == (Cause.MONITOR_BEHIND, True)


# Unknown ids


def test_an_unknown_id_is_explained_by_the_monitors(
    store: TaskStore, now: datetime
) -> None:
    never = found(store, "x")
    report(store, now - 3 * MINUTE, at=now - 2 * MINUTE)
    stopped = found(store, "x")
    report(store, now - 8 * MINUTE)
    behind = found(store, "x")
    report(store, None)
    started = found(store, "x")
    report(store, now)
    known = found(store, "x")

    assert never[0] == stopped[0] == Cause.NO_MONITOR
    assert never[2].endswith("no monitor is running: none has reported within a day.")
    assert "no monitor is running: the last report was at" in stopped[2]
    assert behind[:2] == (Cause.MONITOR_BEHIND, True)
    assert "published until" in behind[2] and behind[2].endswith("(8.0 min ago).")
    assert started[:2] == (Cause.MONITOR_BEHIND, True)
    assert "monitors have just started, and have not reported how far" in started[2]
    assert known[:2] == (Cause.UNKNOWN, True)
    assert known[2].startswith("task[x] is not known: no monitor and no worker")
    assert known[2].endswith("not run yet or a worker without the toolbox ran it.")


def test_the_id_of_a_group_is_not_that_of_a_task(store: TaskStore) -> None:
    publish(store, "export", "1", "2", group="g")
    cause, _, sentence = found(store, "g")

    assert cause == Cause.UNKNOWN
    assert "is not a task but a group of 2 tasks; `tasks show g`" in sentence


def test_a_message_in_quarantine_is_the_reason_for_an_unknown_id(
    store: TaskStore, now: datetime
) -> None:
    given = [
        quarantine_record(message(id=id), reason="not JSON\nat all", seen_at=now)
        for id in ("x", "y")
    ]
    with store.engine.begin() as connection:
        write_batch(connection, given)
    reason = store.why("x")
    number = reason.evidence["quarantine_id"]

    assert (reason.cause, reason.is_trouble) == (Cause.QUARANTINED, True)
    assert f": not JSON; `tasks quarantine show {number}` shows" in reason.sentence


def test_a_task_without_a_message_is_explained_and_called_untracked(
    store: TaskStore, now: datetime
) -> None:
    run(store, "1", now)
    reason = store.why("1")

    assert reason.cause == Cause.RUNNING
    assert reason.sentence.endswith("; no monitor has seen its message.")
    assert reason.evidence["tracked"] is False


# The record


def test_times_are_in_the_requested_zone(store: TaskStore, now: datetime) -> None:
    publish(store, "export", "1", eta=(now + 3 * HOUR + MINUTE).isoformat())
    zone = timezone(timedelta(hours=5))
    local = (now + 3 * HOUR + MINUTE).astimezone(zone)

    assert f"{local:%Y-%m-%d %H:%M:%S} (in" in store.why("1", zone=zone).sentence


def test_a_task_that_another_one_explains_is_explained_once(store: TaskStore) -> None:
    for id, other in (("1", "2"), ("2", "1")):
        not_run = f"not run: export.fetch[{other}] failed"
        fail(store, id, "ValueError", name="a", not_run=not_run)
    reason = store.why("1")

    assert reason.because is not None and reason.because.id == "2"
    assert reason.because.because is None


def test_a_reason_depends_on_the_one_that_it_waits_for() -> None:
    fields: dict[str, Any] = {"id": "1", "name": None, "status": None, "sentence": ""}
    failed = Reason(cause=Cause.FAILED, **fields)

    for cause in Cause:
        assert Reason(cause=cause, **fields).is_trouble == (cause not in NORMAL)
        assert Reason(cause=cause, because=failed, **fields).is_trouble


def test_an_unusual_id_is_unknown(store: TaskStore) -> None:
    for id in ("", "\x00", "\ud800", "x" * 10_000, "%", "1'; DROP TABLE"):
        assert store.why(id).cause == Cause.NO_MONITOR

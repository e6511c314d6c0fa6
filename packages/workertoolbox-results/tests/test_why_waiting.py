"""The sentence and the evidence of a task that waits for a worker, or for its retry."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import update
from stored_tasks import MINUTE, publish, store_ended, store_state

from cadasta.workertoolbox.results import Cause, Reason, TaskStore
from cadasta.workertoolbox.results._database.tables import taskmeta
from cadasta.workertoolbox.results._history.horizon import report_progress
from cadasta.workertoolbox.results._history.rollup import add_contributions
from cadasta.workertoolbox.results._history.tally import Contribution
from cadasta.workertoolbox.results._store.why import waiting

HOUR = 60 * MINUTE
ORIGIN = {"workertoolbox_service": "shop", "origin": "gen1@host"}


def shown(at: datetime, ago: str) -> str:
    return f"{at:%Y-%m-%d %H:%M:%S} ({ago} ago)"


def run(store: TaskStore, id: str, at: datetime, **values: Any) -> None:
    """Store a task that has run since an instant."""
    given = {"name": "export.project", "worker": "a@host", "queue": "export"}
    store_state(store, id, "STARTED", at=at, **{"started_at": at, **given, **values})


def make_usual(store: TaskStore, at: datetime, **seconds: Any) -> None:
    """Store the figures of a hundred tasks of the name."""
    ended = Contribution("export.project", "other", "SUCCESS", at, **seconds)
    with store.engine.begin() as connection:
        add_contributions(connection, [ended] * 100)


def words(reason: Reason) -> str:
    return reason.sentence.split("[1] ", 1)[1]


def known(reason: Reason) -> dict[str, Any]:
    """Return the evidence, with the waiting time to ten seconds."""
    found = dict(reason.evidence)
    if "waiting_s" in found:
        found["waiting_s"] = round(found["waiting_s"], -1)
    return found


def waits(at: datetime, seconds: float, **values: Any) -> dict[str, Any]:
    """Return the evidence of a task that has waited in its queue since an instant."""
    return {
        "queue": "export",
        "due_at": at.isoformat(),
        "waiting_s": seconds,
        "before": 0,
        "running": 0,
        "workers": [],
        "per_second": 0.0,
        "overtaken_by": 0,
        "published_at": at.isoformat(),
        "service": "shop",
        "origin": "gen1@host",
        **values,
    }


@pytest.fixture
def at(store: TaskStore, now: datetime) -> datetime:
    """When task 1 was published, ten minutes ago."""
    at = now - 10 * MINUTE
    publish(store, "export", "1", at=at, **ORIGIN)
    return at


def test_a_task_with_an_eta_says_who_published_it(
    store: TaskStore, now: datetime
) -> None:
    eta = now + HOUR
    publish(store, "export", "1", at=now, eta=eta.isoformat(), **ORIGIN)
    reason = store.why("1")

    assert (reason.cause, known(reason)) == (
        Cause.ETA,
        {
            "eta_at": eta.isoformat(),
            "queue": "export",
            "published_at": now.isoformat(),
            "service": "shop",
            "origin": "gen1@host",
        },
    )


def test_a_task_without_an_eta_is_due_whatever_its_publishers_clock_says(
    store: TaskStore, now: datetime
) -> None:
    ahead = (now + 10 * MINUTE).isoformat()
    publish(store, "export", "1", at=now, workertoolbox_published_at=ahead)
    reason = store.why("1")

    assert reason.cause != Cause.ETA
    assert known(reason)["waiting_s"] == 0


def test_a_task_whose_result_is_stored_elsewhere_says_who_published_it(
    store: TaskStore, now: datetime
) -> None:
    at = now - 10 * MINUTE
    redis = {"workertoolbox_results_elsewhere": "redis"}
    publish(store, "mails", "1", at=at, **ORIGIN, **redis)
    reason = store.why("1")

    assert reason.cause == Cause.RESULTS_ELSEWHERE
    assert words(reason) == (
        "was sent to queue mails, and its result is stored elsewhere (redis): its "
        "outcome is not known here, and AsyncResult in the service that sent it has it."
    )
    assert known(reason) == {
        "queue": "mails",
        "due_at": at.isoformat(),
        "results_elsewhere": "redis",
        "published_at": at.isoformat(),
        "service": "shop",
        "origin": "gen1@host",
    }


def test_a_queue_without_a_worker_says_since_when(
    store: TaskStore, now: datetime, at: datetime
) -> None:
    never = store.why("1")
    ended_at = now - 3 * HOUR
    store_ended(store, "0", at=ended_at, worker="a@host")
    publish(store, "export", "2", at=at - MINUTE)
    stopped = store.why("1")
    begin = f"has waited since {shown(at, '10.0 min')}, and no worker seems to consume "

    assert never.cause == stopped.cause == Cause.NO_CONSUMER
    assert words(never) == (
        f"{begin}queue export: no task of it has ever started or ended; or its workers "
        "run without the result backend of the toolbox, so that this database does not "
        "know what they have run."
    )
    assert known(never) == waits(at, 600)
    assert words(stopped) == (
        f"{begin}queue export: no task of it has started or ended since "
        f"{shown(ended_at, '3.0 h')}, and 1 task waits before it."
    )
    assert known(stopped) == waits(
        at, 600, before=1, workers=["a@host"], active_at=ended_at.isoformat()
    )


@pytest.mark.parametrize(
    ("seconds", "cause"), [(50, Cause.WAITING), (70, Cause.NO_CONSUMER)]
)
def test_a_worker_may_need_a_minute_to_start(
    store: TaskStore, now: datetime, seconds: int, cause: Cause
) -> None:
    at = now - timedelta(seconds=seconds)
    expires = now + HOUR
    publish(store, "export", "1", at=at, expires=expires.isoformat(), **ORIGIN)
    reason = store.why("1")

    assert (reason.cause, known(reason)) == (
        cause,
        waits(at, seconds, expires_at=expires.isoformat()),
    )


@pytest.mark.parametrize(
    ("seconds", "cause"), [(50, Cause.WAITING), (70, Cause.OVERTAKEN)]
)
def test_a_task_is_overtaken_after_a_minute(
    store: TaskStore, now: datetime, seconds: int, cause: Cause
) -> None:
    at = now - timedelta(seconds=seconds)
    publish(store, "export", "1", at=at, **ORIGIN)
    later = at + timedelta(seconds=10)
    publish(store, "export", "2", at=later)
    run(store, "2", later, published_at=later)
    reason = store.why("1")

    assert reason.cause == cause
    if cause is Cause.OVERTAKEN:
        assert words(reason) == (
            f"has waited in queue export since {shown(at, '1.2 min')}, although 1 "
            "later task has started: a worker holds its message, or has died with it, "
            "a worker without the toolbox ran it, or the message was removed."
        )
    assert known(reason) == waits(
        *(at, seconds),
        running=1,
        workers=["a@host"],
        overtaken_by=1,
        active_at=later.isoformat(),
    )


@pytest.mark.parametrize(
    ("workers", "run_its_tasks"),
    [(("a",), "a runs"), (("a", "b"), "a and b run"), ((), None)],
)
def test_a_waiting_task_says_what_is_before_it(
    store: TaskStore,
    now: datetime,
    at: datetime,
    workers: tuple[str, ...],
    run_its_tasks: str | None,
) -> None:
    for worker in workers:
        store_ended(store, worker, at=now - MINUTE, worker=worker)
    text = f"; {run_its_tasks} its tasks" if run_its_tasks else ""
    if workers:
        assert words(store.why("1")) == (
            f"has waited in queue export since {shown(at, '10.0 min')}{text}."
        )
    publish(store, "export", "2", at=at - MINUTE)
    reason = store.why("1")
    if workers:
        rate = reason.evidence["per_second"]
        begin = f"export since {shown(at, '10.0 min')} behind 1 task{text}, at this "
        assert begin in reason.sentence
        assert (rate > 0) == (", at this rate for " in reason.sentence)
    else:
        assert reason.cause == Cause.NO_CONSUMER


@pytest.mark.parametrize(
    ("waited_s", "cause"),
    [(100.0, Cause.WAITING_LONG), (3600.0, Cause.WAITING), (None, Cause.WAITING)],
)
def test_a_task_is_slow_if_it_waits_longer_than_usual(
    store: TaskStore,
    now: datetime,
    at: datetime,
    waited_s: float | None,
    cause: Cause,
) -> None:
    store_ended(store, "2", at=now - MINUTE, worker="a@host")
    make_usual(store, now - HOUR, waited_s=waited_s)
    reason = store.why("1")

    assert reason.cause == cause
    assert ("p99_s" in reason.evidence) == (waited_s is not None)
    begin = f"has waited in queue export since {shown(at, '10.0 min')}; "
    begin += "a@host runs its "
    assert words(reason).startswith(f"{begin}tasks")
    if cause is Cause.WAITING_LONG:
        assert words(reason).startswith(f"{begin}tasks, longer than the 1.")
        assert words(reason).endswith(" min that 99 in 100 tasks of its name wait.")
    else:
        assert words(reason) == f"{begin}tasks."


def test_a_task_is_not_slow_in_its_first_minute(
    store: TaskStore, now: datetime
) -> None:
    publish(store, "export", "1", at=now - timedelta(seconds=50))
    publish(store, "export", "2", at=now - timedelta(seconds=70))
    make_usual(store, now - HOUR, waited_s=1.0)
    store_ended(store, "3", at=now, worker="a@host")

    assert store.why("1").cause == Cause.WAITING
    assert store.why("2").cause == Cause.WAITING_LONG


def test_busy_workers_say_what_they_run(
    store: TaskStore, now: datetime, at: datetime
) -> None:
    for id, worker in (("3", "b@host"), ("2", "a@host"), ("4", None)):
        run(store, id, now - int(id) * HOUR, worker=worker)
    publish(store, "export", "0", at=at - MINUTE)
    reason = store.why("1")
    longest = store.why("4").sentence.removesuffix(".").split("[4] ")[1]

    assert reason.because is not None and reason.because.id == "4"
    assert words(reason) == (
        f"has waited in queue export since {shown(at, '10.0 min')} behind 1 task, "
        "because the workers of the queue (a@host and b@host) are busy with 3 tasks; "
        f"the one that has run longest is export.project[4], which {longest}."
    )
    assert known(reason) == waits(
        *(at, 600),
        before=1,
        running=3,
        workers=["a@host", "b@host"],
        active_at=(now - 2 * HOUR).isoformat(),
    )


@pytest.mark.parametrize(
    ("waited_s", "cause"),
    [(100.0, Cause.WAITING_LONG), (3600.0, Cause.BUSY), (None, Cause.BUSY)],
)
def test_busy_workers_make_a_task_slow_if_it_waits_longer_than_usual(
    store: TaskStore,
    now: datetime,
    at: datetime,
    waited_s: float | None,
    cause: Cause,
) -> None:
    run(store, "2", now - HOUR)
    make_usual(store, now - HOUR, waited_s=waited_s)
    reason = store.why("1")

    assert reason.cause == cause
    assert words(reason).startswith(
        f"has waited in queue export since {shown(at, '10.0 min')}, because the "
        "workers of the queue (a@host) are busy with 1 task: export.project[2], which "
    )


def test_the_last_of_many_reasons_says_since_when_workers_are_busy(
    store: TaskStore, now: datetime, at: datetime
) -> None:
    for id in "23":
        run(store, id, now - int(id) * HOUR)
    for id, other in ("ab", "bc", "cd", "d1"):
        not_run = f"not run: export.fetch[{other}] failed"
        store_state(store, id, "FAILURE", not_run=not_run)
    reasons: list[Reason] = [store.why("a")]
    while (because := reasons[-1].because) is not None:
        reasons.append(because)
    first = store.why("1")
    busy = "because the workers of the queue (a@host) are busy with 2 tasks"

    assert [each.id for each in reasons] == [*"abcd1"]
    assert words(reasons[-1]) == (
        f"has waited in queue export since {shown(at, '10.0 min')}, {busy}, "
        f"the longest since {shown(now - 3 * HOUR, '3.0 h')}."
    )
    assert f"{busy}; the one that has run longest is export.project[3], which " in (
        first.sentence
    )


def failed(store: TaskStore, at: datetime, *message: str, retries: int | None) -> None:
    """Store that an attempt of task 1 has failed."""
    error = {"exc_type": "OSError", "exc_message": [*message]}
    values = {"retries": retries, "worker": "a@host", "error_group": "1:ab"}
    result = json.dumps(error).encode() if message else None
    store_state(store, "1", "RETRY", at=at, result=result, **values)


def test_a_retry_waits_for_its_eta(
    store: TaskStore, now: datetime, at: datetime
) -> None:
    failed_at, eta = now - 9 * MINUTE, now + HOUR
    failed(store, failed_at, "full", retries=1)
    publish(store, "export", "1", at=failed_at, retries=2, eta=eta.isoformat())
    reason = store.why("1")
    begin = f"waits for its retry at {eta:%Y-%m-%d %H:%M:%S} (in "

    assert reason.cause == Cause.RETRY
    assert words(reason).startswith(begin)
    assert words(reason).endswith(
        f"); attempt 2 ended at {shown(failed_at, '9.0 min')} after OSError: full."
    )
    assert known(reason) == {
        "failed_at": failed_at.isoformat(),
        "error": "OSError: full",
        "retry": 2,
        "error_group": "1:ab",
        "eta_at": eta.isoformat(),
        "queue": "export",
    }


@pytest.mark.parametrize(
    ("message", "after"), [((), ""), (("",), " after OSError")], ids=["none", "empty"]
)
def test_a_retry_waits_for_a_worker(
    store: TaskStore,
    now: datetime,
    at: datetime,
    message: tuple[str, ...],
    after: str,
) -> None:
    failed_at = now - 9 * MINUTE
    failed(store, failed_at, *message, retries=None)
    publish(store, "export", "1", at=failed_at, retries=1, **ORIGIN)
    run(store, "2", now - HOUR)
    reason = store.why("1")

    assert reason.cause == Cause.BUSY
    assert reason.because is not None and reason.because.id == "2"
    assert words(reason).endswith(
        f"; it waits for its retry: attempt 1 ended at {shown(failed_at, '9.0 min')}"
        f"{after}."
    )
    found = known(reason)
    assert found.get("error") == ("OSError:" if after else None)
    assert (found["failed_at"], found["retry"]) == (failed_at.isoformat(), 1)
    assert (found["queue"], found["running"]) == ("export", 1)


@pytest.mark.parametrize(
    ("seconds", "cause"), [(50, Cause.RETRY), (70, Cause.RETRY_UNSEEN)]
)
def test_the_message_of_a_retry_is_missed_after_a_minute(
    store: TaskStore, now: datetime, at: datetime, seconds: int, cause: Cause
) -> None:
    failed_at = now - timedelta(seconds=seconds)
    failed(store, failed_at, "full", retries=0)
    unread = store.why("1")
    with store.engine.begin() as connection:
        report_progress(connection, "m", read_until=now, now=now)
    reason = store.why("1")
    what = "is to be retried, and the message of the retry has not been seen"
    attempt = f"attempt 1 ended at {failed_at:%Y-%m-%d %H:%M:%S} ("
    evidence = {
        "failed_at": failed_at.isoformat(),
        "error": "OSError: full",
        "retry": 1,
        "error_group": "1:ab",
    }

    assert words(unread).startswith(f"{what}, but no monitor is running: none has ")
    assert f" within a day; {attempt}" in unread.sentence
    assert known(unread) == {**evidence, "monitors_running": False}
    assert reason.cause == cause
    assert words(reason).startswith(f"{what}; {attempt}")
    assert known(reason) == evidence


def test_the_time_of_an_attempt_that_ended_may_be_unknown(
    store: TaskStore, now: datetime, at: datetime
) -> None:
    failed(store, now, "full", retries=0)
    with store.engine.begin() as connection:
        connection.execute(update(taskmeta).values(date_done=None))
        report_progress(connection, "m", read_until=now, now=now)
    reason = store.why("1")

    assert reason.cause == Cause.RETRY_UNSEEN
    assert reason.sentence.endswith(" seen; attempt 1 ended after OSError: full.")
    assert "failed_at" not in reason.evidence


def test_more_tasks_than_are_counted_are_said_to_be_more(
    store: TaskStore, at: datetime, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waiting, "MAX_ROWS", 2)
    publish(store, "export", "2", at=at - MINUTE)
    few = store.why("1")
    publish(store, "export", "3", at=at - MINUTE)

    assert few.sentence.split(", and ")[-1].startswith("1 task waits before it;")
    assert ", and more than 2 tasks wait before it; or" in store.why("1").sentence

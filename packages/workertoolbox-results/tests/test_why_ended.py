"""The sentence and the evidence of each way in which a task can end."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any

import pytest
from celery import states
from sqlalchemy import insert
from stored_tasks import MINUTE, publish, store_state

from cadasta.workertoolbox.results import TaskStore
from cadasta.workertoolbox.results._database import tables
from cadasta.workertoolbox.results._store.why.ended import failed_step

HOUR = 60 * MINUTE


def error(kind: str, *text: str) -> bytes:
    """Return an exception as a worker stores it."""
    return json.dumps({"exc_type": kind, "exc_message": [*text]}).encode()


def ended(store: TaskStore, status: str, at: datetime, **values: Any) -> None:
    """Store that task 1, published three hours before, has ended."""
    store_state(store, "1", status, at=at, **values)


@pytest.fixture
def at(store: TaskStore, now: datetime) -> datetime:
    """When the task ends, two hours ago."""
    publish(store, "export", "1", at=now - 3 * HOUR)
    return now - 2 * HOUR


def shown(at: datetime, ago: str = "2.0 h") -> str:
    return f"{at:%Y-%m-%d %H:%M:%S} ({ago} ago)"


def run(at: datetime) -> dict[str, Any]:
    """Return the columns of a run that took a minute."""
    start: dict[str, Any] = {"started_at": at - MINUTE, "waited_s": 3540.0}
    return {**start, "worker": "a@host", "retries": 2}


def evidence(at: datetime, **values: Any) -> dict[str, Any]:
    """Return the evidence of a task that ran for a minute."""
    return {
        "ended_at": at.isoformat(),
        "started_at": (at - MINUTE).isoformat(),
        "ran_s": 60.0,
        "waited_s": 3540.0,
        "worker": "a@host",
        "queue": "export",
        "retries": 2,
        **values,
    }


def found(store: TaskStore) -> tuple[str, dict[str, Any]]:
    """Return the predicate and the evidence."""
    reason = store.why("1")
    return reason.sentence.split("[1] ", 1)[1], dict(reason.evidence)


def test_a_success_has_its_times(store: TaskStore, at: datetime) -> None:
    ended(store, states.SUCCESS, at, **run(at))

    assert found(store) == (
        f"succeeded at {shown(at)} on a@host after 2 retries; it ran for 1.0 min.",
        evidence(at),
    )


def test_an_end_without_a_run_says_only_when(store: TaskStore, at: datetime) -> None:
    ended(store, states.SUCCESS, at, retries=0)

    assert found(store) == (
        f"succeeded at {shown(at)}.",
        {"ended_at": at.isoformat(), "queue": "export"},
    )


def test_a_failure_names_the_group_of_its_error(
    store: TaskStore, now: datetime, at: datetime
) -> None:
    first_at = now - 3 * HOUR
    times = {"first_at": first_at, "last_at": now, "retries": 0, "version": 1}
    rows = [
        {"id": "1:aa", "count": 41, "state": "open", **times},
        {"id": "1:ab", "count": 1, "state": "resolved", **times},
    ]
    with store.engine.begin() as connection:
        connection.execute(insert(tables.error_group), rows)
    failed = error("ValueError", "no map\nof this")
    ended(store, states.FAILURE, at, result=failed, error_group="1:ab", **run(at))

    assert found(store) == (
        f"failed at {shown(at)} on a@host after 2 retries with ValueError: no map "
        f"(error group 1:ab: 1 error since {shown(first_at, '3.0 h')}).",
        evidence(
            at,
            error="ValueError: no map",
            error_group="1:ab",
            group_count=1,
            group_first_at=first_at.isoformat(),
            group_state="resolved",
        ),
    )


@pytest.mark.parametrize(
    ("result", "words", "text"),
    [
        (error("KeyError", ""), " with KeyError", "KeyError:"),
        (b'"gave up"', " with gave up", "gave up"),
        (None, "", ""),
    ],
)
def test_a_failure_without_a_group_says_what_is_known_of_the_error(
    store: TaskStore, at: datetime, result: bytes | None, words: str, text: str
) -> None:
    empty = {"id": "1:ab", "version": 1, "first_at": at, "last_at": at, "count": 0}
    with store.engine.begin() as connection:
        connection.execute(
            insert(tables.error_group).values(**empty, retries=1, state="open")
        )
    ended(store, states.FAILURE, at, result=result, error_group="1:ab", **run(at))

    assert found(store) == (
        f"failed at {shown(at)} on a@host after 2 retries{words}.",
        evidence(at, error=text, error_group="1:ab"),
    )


@pytest.mark.parametrize("worker", [None, "a@host"])
@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("NotRegistered", ", which has no task called 'export.typo'"),
        ("InvalidTaskError", ": InvalidTaskError: export.typo"),
    ],
)
def test_a_discarded_message_says_by_which_worker(
    store: TaskStore, now: datetime, worker: str | None, kind: str, words: str
) -> None:
    ended(store, "FAILURE", now, result=error(kind, "export.typo"), worker=worker)
    sentence, known = found(store)

    assert sentence.startswith(f"was discarded at {now:%Y-%m-%d %H:%M:%S} (")
    assert sentence.endswith(
        f" ago) by {worker or 'a worker'}{words}; no monitor has seen its message."
    )
    assert known.pop("worker", None) == worker
    assert known == {
        "ended_at": now.isoformat(),
        "error": f"{kind}: export.typo",
        "tracked": False,
    }


@pytest.mark.parametrize(
    ("reason", "words"),
    [
        ("revoked by alice", "was revoked at {}, before it ran."),
        ("terminated", "was terminated at {} while it ran on a@host."),
        ("purged from queue export", "was purged from queue export at {}."),
        ("refused by the broker: no", "was refused by the broker: no at {}."),
    ],
)
def test_a_revocation_has_its_reason(
    store: TaskStore, at: datetime, reason: str, words: str
) -> None:
    revoked = error("TaskRevokedError", reason)
    ended(store, states.REVOKED, at, result=revoked, **run(at))

    assert found(store) == (words.format(shown(at)), evidence(at, reason=reason))


def test_an_expiry_says_when_it_was_and_when_the_task_was_published(
    store: TaskStore, now: datetime
) -> None:
    published_at, expires = now - 3 * HOUR, now - 2 * HOUR
    headers: dict[str, Any] = {"at": published_at, "expires": expires.isoformat()}
    publish(store, "export", "1", **headers)
    times = {
        "expires_at": expires.isoformat(),
        "published_at": published_at.isoformat(),
    }
    sentence = (
        f"expired at {shown(expires)}, before a worker started it; "
        f"it was published at {shown(published_at, '3.0 h')}."
    )
    before = found(store)
    revoked = error("TaskRevokedError", "expired")
    ended(store, states.REVOKED, now, result=revoked)

    assert before == (sentence, {"queue": "export", **times})
    known = {"ended_at": now.isoformat(), "queue": "export", "reason": "expired"}
    assert found(store) == (sentence, {**known, **times})


def test_an_expiry_of_an_unknown_message_says_when_it_was_stored(
    store: TaskStore, now: datetime
) -> None:
    at = now - 2 * HOUR
    ended(store, states.REVOKED, at, result=error("TaskRevokedError", "expired"))
    words, _ = found(store)

    assert words == (
        f"expired before a worker started it; its end was stored at {shown(at)}; "
        "no monitor has seen its message."
    )


@pytest.mark.parametrize(
    ("status", "result", "event", "known"),
    [
        ("IGNORED", b'"not needed"', "raised Ignore", {"reason": "not needed"}),
        ("IGNORED", None, "raised Ignore", {}),
        ("REJECTED", b'"no"', "rejected its message", {"reason": "no"}),
    ],
)
def test_a_task_that_a_worker_gave_up_says_the_reason(
    store: TaskStore,
    at: datetime,
    status: str,
    result: bytes | None,
    event: str,
    known: dict[str, str],
) -> None:
    ended(store, status, at, result=result, **run(at))
    why = f": {known['reason']}" if known else ""

    assert found(store) == (
        f"{event} at {shown(at)} on a@host{why}.",
        evidence(at, **known),
    )


def test_a_lost_task_says_when_it_was_given_up(store: TaskStore, at: datetime) -> None:
    ended(store, "LOST", at, result=b'"silent"', **run(at))

    assert found(store) == (
        f"is lost: a@host started it at {shown(at - MINUTE)} and never stored its end"
        f", so it was given up at {shown(at)}.",
        evidence(at, reason="silent"),
    )


def test_a_lost_task_of_which_little_is_stored_says_what_is_known(
    store: TaskStore, at: datetime
) -> None:
    ended(store, "LOST", at)

    assert found(store) == (
        "is lost: its worker started it and never stored its end"
        f", so it was given up at {shown(at)}.",
        {"ended_at": at.isoformat(), "queue": "export", "reason": ""},
    )


def test_an_ignored_task_without_a_worker_has_no_reason(
    store: TaskStore, at: datetime
) -> None:
    ended(store, states.IGNORED, at, result=b'"not needed"', retries=0)

    assert found(store)[1] == {"ended_at": at.isoformat(), "queue": "export"}


def test_a_step_that_was_not_run_names_the_task_that_is_the_reason(
    store: TaskStore, at: datetime
) -> None:
    not_run = "not run: export.fetch[1] failed\nin a line"
    store_state(store, "2", states.FAILURE, at=at, not_run=not_run, name="export.map")
    ended(store, states.SUCCESS, at, **run(at))
    known, because = store.why("2"), store.why("1")

    assert known.sentence.split(", because ")[1].startswith(
        because.sentence.replace(" (2.0 h ago)", "").split(" at ")[0]
    )
    assert known.evidence == {"ended_at": at.isoformat(), "reason": not_run}
    own = "not run: export.fetch[3] failed\nin a line"
    store_state(store, "3", states.FAILURE, at=at, not_run=own, name="export.map")
    assert store.why("3").sentence == (
        "export.map[3] was never published, because export.fetch[3] failed."
    )


def test_the_task_that_kept_a_step_from_running_is_found_in_the_reason() -> None:
    assert failed_step("export.fetch[a] then export.map[b] failed") == "b"
    assert failed_step("nothing is known") is None

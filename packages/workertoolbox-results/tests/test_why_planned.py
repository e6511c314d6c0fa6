"""The sentence and the evidence of a step that has not been published."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pytest
from celery import chain, chord, states
from published_workflows import published, workflow_app
from sqlalchemy import delete, insert, select, update
from stored_tasks import MINUTE, publish, store_state

from cadasta.workertoolbox.results import Cause, Reason, TaskStore
from cadasta.workertoolbox.results._database import tables
from cadasta.workertoolbox.results._history.horizon import report_progress
from cadasta.workertoolbox.results._monitor.upserts import write_batch
from cadasta.workertoolbox.results._store.why import planned

HOUR = 60 * MINUTE
ERROR = b'{"exc_type": "ValueError", "exc_message": ["no map"]}'
NO_MONITOR = ", but no monitor is running: none has reported within a day."
UNKNOWN = (
    "is a step that a message has announced, and the step before it is not known: it "
    "was purged, or its message has not been seen."
)


@pytest.fixture
def workflow(store: TaskStore) -> TaskStore:
    """The store with the message of a, in the chain a, b, (c and d), e, f."""
    app = workflow_app()
    a, b, c, d, e, f = (app.signature(name, task_id=name) for name in "abcdef")
    with store.engine.begin() as connection:
        write_batch(connection, published(app, chain(a, b, chord([c, d], e), f)))
    return store


@pytest.fixture
def header(workflow: TaskStore) -> str:
    """The group of c and d."""
    columns = tables.planned.c
    with workflow.engine.connect() as connection:
        found = select(columns.group_id).where(columns.id == "c")
        return str(connection.scalar(found))


def start_header(
    store: TaskStore,
    now: datetime,
    header: str,
    *,
    size: int | None = 2,
    added: int = 0,
    counted: str = "",
    succeeded: str = "",
) -> None:
    """Store the ends of a and b, and the chord with the messages of c and d.

    Args:
        counted: The tasks of the header that are counted.
        succeeded: Those that have succeeded.
    """
    store_state(store, "a", states.SUCCESS, at=now - HOUR)
    publish(store, "export", "b", task="b", root_id="a", parent_id="a", at=now - HOUR)
    store_state(store, "b", states.SUCCESS, at=now - HOUR)
    row = {"id": header, "size": size, "added": added, "done": 0, "starters": 0}
    parts = [
        {"chord_id": header, "task_id": id, "position": n, "status": "", "result": b""}
        for n, id in enumerate(counted)
    ]
    with store.engine.begin() as connection:
        connection.execute(insert(tables.chord).values(**row, touched_at=now))
        if parts:
            connection.execute(insert(tables.chord_part), parts)
    group: dict[str, Any] = {"root_id": "a", "parent_id": "b", "group": header}
    for id in "cd":
        publish(store, "export", id, task=id, at=now - HOUR, **group)
    for id in succeeded:
        store_state(store, id, states.SUCCESS, at=now - 10 * MINUTE)


def report(store: TaskStore, now: datetime) -> None:
    """Store that a monitor has read everything."""
    with store.engine.begin() as connection:
        report_progress(connection, "m", read_until=now, now=now)


def words(reason: Reason) -> str:
    return reason.sentence.split("] ", 1)[1]


def because(reason: Reason) -> str:
    """Return the explanation of the other task, as a relative clause."""
    assert reason.because is not None
    label, _, text = reason.because.sentence.partition("] ")
    return f"{label}], which {text}"


def test_a_planned_step_waits_for_the_step_that_holds_it_up(
    workflow: TaskStore, now: datetime, header: str
) -> None:
    store_state(workflow, "a", "STARTED", at=now, started_at=now, worker="w@host")
    reason = workflow.why("f")

    assert (reason.cause, reason.is_trouble) == (Cause.STEP, False)
    assert words(reason) == f"waits for step 1 of 5, {because(reason)}"
    assert ", a[a], which has been running on w@host since " in words(reason)
    assert reason.evidence == {"step": 1, "steps": 5, "held_up_by": "a"}
    for id in "bcde":
        assert workflow.why(id).evidence == reason.evidence
    with workflow.engine.begin() as connection:
        connection.execute(delete(tables.taskmeta))
        old = {"scheduled_at": now - HOUR, "published_at": now - HOUR}
        connection.execute(update(tables.task).values(old))
    stuck = workflow.why("f")
    assert stuck.is_trouble and stuck.because is not None
    assert stuck.because.cause == Cause.NO_CONSUMER


def test_the_step_that_holds_up_others_has_a_level(
    workflow: TaskStore, now: datetime
) -> None:
    store_state(workflow, "a", states.SUCCESS, at=now)
    headers = {"task": "b", "root_id": "a", "parent_id": "a"}
    publish(workflow, "export", "b", at=now, **headers)
    reasons = [workflow.why(id) for id in "cdef"]
    with workflow.engine.begin() as connection:
        connection.execute(update(tables.task).values(parent_id="gone"))
    orphan = workflow.why("f")
    with workflow.engine.begin() as connection:
        of_a = update(tables.task).where(tables.task.c.id == "a")
        connection.execute(update(tables.task).values(parent_id="a"))
        connection.execute(of_a.values(parent_id="b"))
    circle = workflow.why("f")

    for reason in (*reasons, orphan, circle):
        assert reason.evidence == {"step": 2, "steps": 5, "held_up_by": "b"}
        assert words(reason).startswith("waits for step 2 of 5, b[b], which ")


def test_levels_are_counted_up_to_a_maximum(
    workflow: TaskStore, now: datetime, header: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(planned, "MAX_LEVELS", 2)
    below = workflow.why("b").evidence
    start_header(workflow, now, header)
    above = workflow.why("e").evidence

    assert (below["step"], below["steps"]) == (1, 4)
    assert (above["step"], above["steps"]) == (2, 4)


@pytest.mark.parametrize(
    ("make", "body", "steps"),
    [
        (lambda a, b, c, d, e, f: chord([a, b], chain(c, d, e)), "cde", 4),
        (lambda a, b, c, d, e, f: chord([a, b], chain(c, chord([d, e], f))), "cdef", 4),
        (lambda a, b, c, d, e, f: chord([a, chain(b, f)], chain(c, d, e)), "cde", 5),
    ],
    ids=["chain", "chain with a chord", "chain in the header"],
)
def test_each_step_of_a_body_that_is_a_chain_waits_for_the_header(
    store: TaskStore, make: Callable[..., Any], body: str, steps: int
) -> None:
    app = workflow_app()
    signature = make(*(app.signature(name, task_id=name) for name in "abcdef"))
    with store.engine.begin() as connection:
        write_batch(connection, published(app, signature))
    reasons = {id: store.why(id) for id in body}

    # Celery counts the last step of the body in the group of the header.
    evidences = [each.evidence for each in reasons.values()]
    assert [each.get("steps") for each in evidences] == [steps] * len(body), reasons
    assert {each.get("chord_size", 2) for each in evidences} == {2}
    assert {each["held_up_by"] for each in evidences} <= {"a", "b"}


def test_a_step_that_follows_a_task_twice_is_on_one_level(
    workflow: TaskStore, now: datetime
) -> None:
    row = {"name": "x", "root_id": "a", "seen_at": now}
    rows = [
        {"id": "x", "parent_id": "f", "header_id": "g", "group_id": None, **row},
        {"id": "y", "parent_id": "x", "header_id": None, "group_id": "g", **row},
    ]
    with workflow.engine.begin() as connection:
        connection.execute(insert(tables.planned), rows)

    assert workflow.why("b").evidence["steps"] == 7


@pytest.mark.parametrize(
    ("status", "cause"),
    [("FAILURE", Cause.NOT_RUN), ("IGNORED", Cause.STEP), ("LOST", Cause.NOT_RUN)],
)
def test_a_planned_step_after_a_failure_is_not_run(
    workflow: TaskStore, status: str, cause: Cause
) -> None:
    result = ERROR if status == "FAILURE" else None
    store_state(workflow, "a", status, result=result)
    reason = workflow.why("f")

    assert reason.cause == cause
    if cause is Cause.NOT_RUN:
        begin = "is not published, because of step 1 of 5, "
        assert reason.is_trouble
    else:
        begin = "waits for step 1 of 5, "
    assert words(reason) == f"{begin}{because(reason)}"
    assert reason.evidence == {"step": 1, "steps": 5, "held_up_by": "a"}
    if status == "FAILURE":
        assert ", a[a], which failed at " in words(reason)
        assert words(reason).endswith(" with ValueError: no map.")


def test_the_body_of_a_chord_waits_for_what_the_header_lacks(
    workflow: TaskStore, now: datetime, header: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    start_header(workflow, now, header, size=2, added=2, succeeded="c")
    reason = workflow.why("f")
    with workflow.engine.begin() as connection:
        connection.execute(update(tables.chord).values(added=0, size=None))
    one = workflow.why("e")

    assert (reason.cause, reason.is_trouble) == (Cause.CHORD, True)
    assert words(reason) == (
        "waits for a chord at step 3 of 5, in which 1 of 4 tasks have succeeded: it "
        f"lacks {because(reason).removesuffix('.')}; it also lacks 2 other tasks."
    )
    assert because(reason).startswith("d[d], which has waited since ")
    assert reason.evidence == {
        **{"step": 3, "steps": 5, "held_up_by": "d", "chord_id": header},
        **{"chord_size": 4, "chord_lacking": 3, "chord_lacking_ids": ["d"]},
        **{"chord_unseen": 2, "chord_uncounted": ["c"]},
        "chord_statuses": {"SUCCESS": 1, "QUEUED": 1},
    }
    assert words(one) == (
        "waits for a chord at step 3 of 5, in which 1 of 2 tasks have succeeded: it "
        f"lacks {because(one)}"
    )
    assert (one.evidence["chord_size"], one.evidence["chord_lacking"]) == (2, 1)
    assert one.evidence["chord_unseen"] == 0


def test_the_evidence_has_the_first_tasks_that_a_header_lacks(
    workflow: TaskStore, now: datetime, header: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    start_header(workflow, now, header)
    both = workflow.why("e")
    monkeypatch.setattr(planned, "MAX_IDS", 1)
    lacking = workflow.why("e")
    for id in "cd":
        store_state(workflow, id, states.SUCCESS, at=now)
    uncounted = workflow.why("e")

    assert both.evidence["chord_lacking_ids"] == ["c", "d"]
    assert words(both).endswith("; it also lacks 1 other task.")
    assert lacking.evidence["chord_lacking_ids"] == ["c"]
    assert lacking.evidence["chord_lacking"] == 2
    assert uncounted.evidence["chord_uncounted"] == ["c"]


def test_a_chord_whose_header_has_one_known_task_lacks_that_task(
    workflow: TaskStore, now: datetime, header: str
) -> None:
    start_header(workflow, now, header, size=1)
    with workflow.engine.begin() as connection:
        for table in (tables.task, tables.planned):
            connection.execute(delete(table).where(table.c.id == "d"))
        connection.execute(delete(tables.chord))
    reason = workflow.why("e")

    assert words(reason).startswith(
        "waits for a chord at step 3 of 5, in which 0 of 1 task has succeeded: it "
        "lacks c[c], which "
    )
    assert reason.evidence["chord_uncounted"] == []


@pytest.mark.parametrize(
    ("counted", "uncounted", "are"),
    [("c", ["d"], "1 of them is"), ("", ["c", "d"], "2 of them are")],
)
def test_the_body_of_a_chord_waits_for_a_success_that_is_not_counted(
    workflow: TaskStore,
    now: datetime,
    header: str,
    counted: str,
    uncounted: list[str],
    are: str,
) -> None:
    start_header(workflow, now, header, counted=counted, succeeded="cd")
    reason = workflow.why("e")

    assert (reason.cause, reason.is_trouble) == (Cause.CHORD_UNCOUNTED, True)
    assert words(reason) == (
        f"waits for a chord whose tasks have all succeeded, but {are} not counted, "
        f"such as {uncounted[0]}: its worker died, or does not use the toolbox."
    )
    assert reason.evidence == {
        **{"step": 3, "steps": 5, "held_up_by": "c", "chord_id": header},
        **{"chord_size": 2, "chord_lacking": 0, "chord_lacking_ids": []},
        **{"chord_unseen": 0, "chord_uncounted": uncounted},
        "chord_statuses": {"SUCCESS": 2},
    }


@pytest.mark.parametrize(("size", "tasks"), [(3, "1 task"), (4, "2 tasks")])
def test_the_body_of_a_chord_waits_for_tasks_that_are_not_seen_yet(
    workflow: TaskStore, now: datetime, header: str, size: int, tasks: str
) -> None:
    start_header(workflow, now, header, size=size, counted="cd", succeeded="cd")
    unread = workflow.why("e")
    report(workflow, now)
    reason = workflow.why("e")
    evidence = {
        **{"step": 3, "steps": 5, "held_up_by": "c", "chord_id": header},
        **{"chord_size": size, "chord_lacking": size - 2, "chord_lacking_ids": []},
        **{"chord_unseen": size - 2, "chord_uncounted": []},
        "chord_statuses": {"SUCCESS": 2},
    }
    text = f"waits for a chord with {tasks} that no monitor has seen"

    assert (unread.cause, words(unread)) == (Cause.NO_MONITOR, f"{text}{NO_MONITOR}")
    assert unread.evidence == {**evidence, "monitors_running": False}
    assert (reason.cause, words(reason)) == (Cause.CHORD, f"{text}.")
    assert reason.evidence == evidence


def test_the_body_of_a_chord_whose_tasks_are_counted_is_not_published(
    workflow: TaskStore, now: datetime, header: str
) -> None:
    start_header(workflow, now, header, counted="cd", succeeded="cd")
    report(workflow, now)
    reason = workflow.why("e")

    assert reason.cause == Cause.STEP_UNSEEN
    assert words(reason).startswith("follows step 3 of 5, c[c], which succeeded at ")


@pytest.mark.parametrize(
    ("seconds", "cause", "end"),
    [
        (50, Cause.STEP, " yet."),
        (
            *(70, Cause.STEP_UNSEEN),
            ": the worker could not publish it, or its copy was lost.",
        ),
    ],
)
def test_a_step_whose_message_is_missing_is_trouble_after_a_minute(
    workflow: TaskStore, now: datetime, seconds: int, cause: Cause, end: str
) -> None:
    ended_at = now - timedelta(seconds=seconds)
    store_state(workflow, "a", states.SUCCESS, at=ended_at)
    unread = workflow.why("f")
    report(workflow, now)
    reason = workflow.why("f")
    at = ended_at.isoformat()
    evidence = {"step": 1, "steps": 5, "held_up_by": "a", "ended_at": at}
    begin = f"follows step 1 of 5, a[a], which succeeded at {ended_at:%Y-%m-%d %X} ("
    text = " ago), and the message of the next step has not been seen"

    assert unread.cause == Cause.NO_MONITOR
    assert words(unread).startswith(begin)
    assert words(unread).endswith(f"{text}{NO_MONITOR}")
    assert unread.evidence == {**evidence, "monitors_running": False}
    assert reason.cause == cause
    assert words(reason).startswith(begin)
    assert words(reason).endswith(f"{text}{end}")
    assert reason.evidence == evidence


def test_a_step_after_a_success_of_which_little_is_known_is_missed(
    workflow: TaskStore, now: datetime
) -> None:
    store_state(workflow, "a", states.SUCCESS)
    with workflow.engine.begin() as connection:
        connection.execute(delete(tables.task))
        connection.execute(update(tables.taskmeta).values(date_done=None))
    report(workflow, now)
    reason = workflow.why("f")

    assert reason.cause == Cause.STEP_UNSEEN
    assert words(reason) == (
        "follows step 1 of 5, task[a], which succeeded, and the message of the next "
        "step has not been seen: the worker could not publish it, or its copy was lost."
    )
    assert reason.evidence == {"step": 1, "steps": 5, "held_up_by": "a"}


def test_a_step_after_a_purged_task_is_without_explanation(
    workflow: TaskStore,
) -> None:
    with workflow.engine.begin() as connection:
        connection.execute(delete(tables.task))

    for id in "bf":
        reason = workflow.why(id)
        assert (reason.cause, reason.is_trouble) == (Cause.STEP_UNKNOWN, True)
        assert (words(reason), reason.evidence) == (UNKNOWN, {})


def test_a_step_that_waits_for_the_task_it_explains_is_without_explanation(
    workflow: TaskStore,
) -> None:
    store_state(workflow, "a", "FAILURE", result=ERROR, not_run="not run: f[f] failed")
    reason = workflow.why("a").because

    assert reason is not None and reason.because is None
    assert (reason.cause, words(reason)) == (
        *(Cause.STEP_UNKNOWN, "waits for an unknown step."),
    )
    assert reason.evidence == {"step": 1, "steps": 5, "held_up_by": "a"}

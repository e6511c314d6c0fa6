"""What the store shows, and what the oracle expects, in the same form."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from cadasta.workertoolbox.results import Attempt, Task
from state_machine.places import Message, Result


def shown_task(task: Task) -> tuple[Any, ...]:
    value = task.result if task.status == "SUCCESS" else None
    times = (task.started_at, task.finished_at)
    return (task.status, task.name, task.queue, task.worker, *times, value)


def differences(found: Mapping[Any, Any], expected: Mapping[Any, Any]) -> str:
    """Return what differs, a line each, because pytest does not show all of it."""
    return "".join(
        f"\n{key}: {found.get(key)}, expected {expected.get(key)}"
        for key in {**found, **expected}
        if found.get(key) != expected.get(key)
    )


def expected_attempts(
    result: Result | None, messages: dict[int, Message]
) -> Counter[tuple[Any, ...]]:
    """Return the attempts: all runs, and the messages without one."""
    runs = result.runs if result else []
    # A message that is revoked twice was still not run once.
    outcomes = {
        (run.message.retries, run.worker, run.started_at): run.outcome for run in runs
    }
    found = [(*key, outcome) for key, outcome in outcomes.items()]
    seen = {run.message for run in runs}
    waiting = [each for each in messages.values() if each not in seen]
    return Counter([*found, *((each.retries, None, None, None) for each in waiting)])


def expected_task(
    result: Result | None, messages: dict[int, Message]
) -> tuple[Any, ...]:
    if result is None:
        latest = messages[max(messages)]
        status = "QUEUED" if latest.eta is None else "SCHEDULED"
        return (status, latest.name, latest.queue, None, None, None, None)
    run, message = result.run, result.message
    return (
        *(result.status, message.name, message.queue, run.worker, run.started_at),
        result.stored_at if result.has_ended else None,
        result.value if result.status == "SUCCESS" else None,
    )


def shown_attempts(attempts: Sequence[Attempt]) -> Counter[tuple[Any, ...]]:
    """Return attempts as `expected_attempts` does."""
    return Counter(
        (each.retries, each.worker, each.started_at, each.outcome) for each in attempts
    )

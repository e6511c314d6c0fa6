"""The steps that a task message announces, as many as are stored of it."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import islice
from typing import Any

from cadasta.workertoolbox.results._monitor.size_limits import MAX_STEPS, MIN_STEP_BYTES
from cadasta.workertoolbox.results._workflows.steps import Step, steps_after


def planned_steps(
    embedded: Mapping[str, Any],
    *,
    task_id: str,
    group_id: str | None = None,
    size: int | None = None,
) -> tuple[Step, ...]:
    """Return the first steps that a task message announces.

    Args:
        embedded: The third part of the message's body.
        task_id: Id of the task that the message is for.
        group_id: Id of the group that the task is part of.
        size: Size of the body in bytes, as it was received; None if it is not known.
    """
    if not any(embedded.get(key) for key in ("chain", "chord", "callbacks")):
        return ()
    limit = MAX_STEPS if size is None else min(MAX_STEPS, size // MIN_STEP_BYTES)
    steps = steps_after(embedded, task_id=task_id, group_id=group_id)
    return tuple(islice(steps, limit))

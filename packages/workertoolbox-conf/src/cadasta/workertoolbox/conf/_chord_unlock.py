"""Limit how often `celery.chord_unlock` checks whether the header of a chord has ended.

Celery runs that task for result backends that do not count a chord's header tasks
themselves. Without a limit it runs until every header task has ended, which may never
happen (celery#1700).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from celery import Celery
from celery.utils.functional import maybe_list

_TASK = "celery.chord_unlock"

#: Retries, at most one a second: six hours, as in cadasta-workertoolbox 0.6.
MAX_RETRIES = 21_600


def with_chord_unlock_limit(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings with `CHORD_UNLOCK_MAX_RETRIES` as a task annotation.

    The annotation comes first, because Celery applies only the first of several that
    name the same task.
    """
    retries = values["CHORD_UNLOCK_MAX_RETRIES"]
    if retries is None:
        return dict(values)
    limit = {_TASK: {"max_retries": retries}}
    own = maybe_list(values.get("task_annotations")) or ()
    return {**values, "task_annotations": [limit, *own]}


def limit_chord_unlock(app: Celery) -> None:
    """Limit the retries to `MAX_RETRIES` in an app that has no limit."""
    task = app.tasks[_TASK]
    if task.max_retries is None:
        task.max_retries = MAX_RETRIES

"""Suggestions for misspelled statuses."""

from __future__ import annotations

from difflib import get_close_matches

from celery import states

from cadasta.workertoolbox.results._database.statuses import QUEUED, STATUSES
from cadasta.workertoolbox.results._errors import UnknownStatus

#: Similarity, as `difflib` measures it from 0 to 1, from which a name counts as
#: misspelled: `SUCESS` does, `SENDING` does not.
MIN_SIMILARITY = 0.9


def check_status(status: str) -> None:
    """Refuse a status that no task has and that is probably misspelled.

    Other unknown statuses are accepted, as a task may store custom states.

    Raises:
        UnknownStatus: The status resembles a known one, or is a known one in lower
            case, or is `PENDING`, Celery's status for tasks that it does not know.
    """
    near = [QUEUED] if status == states.PENDING else []
    if status not in STATUSES:
        near = get_close_matches(status.upper(), STATUSES, n=1, cutoff=MIN_SIMILARITY)
    if near:
        raise UnknownStatus(
            f"no task has the status {status!r}; did you mean {near[0]!r}?"
        )

"""The names of the statuses."""

from __future__ import annotations

from difflib import get_close_matches

from celery import states

from cadasta.workertoolbox.results._errors import UnknownStatus

#: Celery's, and those of a task before it has one. A task may set others of its own.
STATUSES = sorted({*states.ALL_STATES, "QUEUED", "SCHEDULED", "PLANNED"})

#: How like a known name another one has to be: `SUCESS` is, `SENDING` is not.
LIKENESS = 0.9


def check_status(status: str) -> None:
    """Refuse a status that no task has and that can only be a slip of the pen.

    Raises:
        UnknownStatus: It resembles a known one, or is in lower case, or is `PENDING`,
            as Celery calls a task that it knows nothing of.
    """
    near = ["QUEUED"] if status == states.PENDING else []
    if status not in STATUSES:
        near = get_close_matches(status.upper(), STATUSES, n=1, cutoff=LIKENESS)
    if near:
        raise UnknownStatus(
            f"no task has the status {status!r}; did you mean {near[0]!r}?"
        )

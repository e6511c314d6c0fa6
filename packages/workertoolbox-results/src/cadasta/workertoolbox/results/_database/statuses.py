"""The statuses of a task: Celery's own, and those until a worker stores a state."""

from __future__ import annotations

from celery import states

#: A monitor has seen the task's message, and no worker has stored a state yet.
QUEUED = "QUEUED"

#: The same as `QUEUED`, but the task has an ETA in the future.
SCHEDULED = "SCHEDULED"

#: The message of another task announces the task; its own has not been seen.
PLANNED = "PLANNED"

#: Statuses of tasks without a row in `celery_taskmeta`, as the view shows them.
BEFORE_RESULT = (QUEUED, SCHEDULED, PLANNED)

#: Celery's final states, sorted so that statements are always the same text.
FINAL = tuple(sorted(states.READY_STATES))

#: The task should have ended, and its worker has probably died; see
#: `_history/lost_tasks.py`. A state that the task stores later replaces this status.
LOST = "LOST"

#: Statuses of tasks that have ended; Celery has no result for the last three.
ENDED = (*FINAL, states.IGNORED, states.REJECTED, LOST)

#: All known statuses. A task may also store custom states.
STATUSES = tuple(sorted({*states.ALL_STATES, *ENDED, *BEFORE_RESULT}))

#: Custom states that Celery's documentation and its own libraries use. Tasks may have
#: them at times, so a query for them is right even if no task has them now.
USUAL_STATES = ("ABORTED", "PROGRESS")

#: Names under which Celery stores failures that do not belong to a task.
PSEUDO_TASKS = ("celery.chord", "celery.group")

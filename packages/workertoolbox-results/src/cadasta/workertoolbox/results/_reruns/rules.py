"""Which tasks may be published again."""

from __future__ import annotations

from celery import Celery

from cadasta.workertoolbox.results._database.statuses import ENDED, PLANNED
from cadasta.workertoolbox.results._monitor.stored_arguments import Form
from cadasta.workertoolbox.results._store.tasks.stored_calls import StoredCall

#: Why arguments that are not whole cannot be used.
_FORMS = {
    Form.REPR: "only the text that its publisher gave as argsrepr or kwargsrepr is "
    "stored",
    Form.REDACTED: "its stored arguments were redacted",
    Form.TRUNCATED: "its stored arguments were cut off (MAX_ARGUMENT_BYTES)",
    Form.CONVERTED: "its arguments have a value that the database does not keep, such "
    "as NaN",
}


def find_refusal(app: Celery, call: StoredCall) -> str | None:
    """Return why a task cannot be published again, or None if it can.

    Args:
        app: The app that would publish it.
    """
    return find_lack(call) or _find_unroutable(app, call)


def find_lack(call: StoredCall) -> str | None:
    """Return why a task cannot be published again by any app, or None if it can."""
    task = call.task
    if task.internal:
        return "it is one of Celery's own tasks"
    if task.status == PLANNED:
        return "it has not been published yet"
    if task.status not in ENDED:
        return f"it has not ended: it is {task.status}"
    return _find_unstored(call)


def _find_unstored(call: StoredCall) -> str | None:
    """Return what is missing of the message of an ended task."""
    task = call.task
    if task.scheduled_at is None:
        # Steps that were never published count as tracked.
        return (
            "it was never published: a task before it did not succeed"
            if task.tracked
            else "no monitor has seen its message"
        )
    if task.arguments is None:
        return (
            "it is not known whether its stored arguments are whole: an earlier "
            "release has stored them, or they are those of another message"
        )
    if task.arguments != Form.WHOLE:
        return _FORMS.get(Form(task.arguments), task.arguments)
    if "headers" in call.options:
        return "its own headers were redacted or cut off"
    return None


def _find_unroutable(app: Celery, call: StoredCall) -> str | None:
    queue = call.task.queue
    # `app.amqp.queues[…]` would create the queue.
    if queue is None or queue not in app.amqp.queues:
        return f"queue {queue!r} is not declared by this app"
    if queue == app.conf.get("PLATFORM_QUEUE_NAME"):
        return f"queue {queue!r} is that of the monitors"
    return None

"""Publishing of one task again, with a connection that serves all tasks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from celery import Celery
from kombu import Connection

from cadasta.workertoolbox.results._errors import BrokerUnavailable
from cadasta.workertoolbox.results._monitor.broker import broker_errors, refused
from cadasta.workertoolbox.results._reruns import journal
from cadasta.workertoolbox.results._reruns.messages import make_call
from cadasta.workertoolbox.results._reruns.steps import KIND as STEPS
from cadasta.workertoolbox.results._reruns.steps import step_options
from cadasta.workertoolbox.results._store.operations.journal import (
    PUBLISHED,
    PUBLISHING,
    Operation,
    OperationTask,
)
from cadasta.workertoolbox.results._store.store import TaskStore
from cadasta.workertoolbox.results._store.tasks.stored_calls import StoredCall

#: Attempts to connect to the broker before the first task is published.
CONNECT_RETRIES = 2


@contextmanager
def open_publisher(
    app: Celery, store: TaskStore, operation: Operation
) -> Iterator[Callable[[StoredCall, OperationTask], OperationTask]]:
    """Return a function that publishes a task, and stores that it has done so.

    Raises:
        BrokerUnavailable: The broker cannot be reached.
    """
    advice = f"then continue with `tasks rerun --resume {operation.id}`"
    has_steps = operation.kind == STEPS

    with app.producer_pool.acquire(block=True) as producer:
        connection: Any = producer.connection
        errors = broker_errors(connection)
        try:
            connection.ensure_connection(
                max_retries=CONNECT_RETRIES, interval_start=0.5, interval_step=0.5
            )
        except errors as error:
            raise _unavailable(connection, error, advice) from error

        def publish(call: StoredCall, entry: OperationTask) -> OperationTask:
            further = step_options(call, operation.id) if has_steps else {}
            made = make_call(call, operation.id, further)
            try:
                app.send_task(
                    made.name, made.args, made.kwargs, producer=producer, **made.options
                )
            except errors as error:
                journal.settle(store.engine, entry, PUBLISHING, str(error))
                raise _unavailable(connection, error, advice) from error
            except Exception as error:
                # The message may have been sent, for example if only its copy could
                # not be.
                return journal.settle(store.engine, entry, PUBLISHING, str(error))
            note = None if has_steps else _note(call)
            return journal.settle(store.engine, entry, PUBLISHED, note)

        yield publish


def _unavailable(
    connection: Connection, error: BaseException, advice: str
) -> BrokerUnavailable:
    return BrokerUnavailable(f"{refused(connection, error)}; {advice}")


def _note(call: StoredCall) -> str | None:
    """Return what is not published with a task."""
    left_out = [*call.options.get("follows", ())]
    if call.task.group_id and "chord" not in left_out:
        left_out.append("group")
    return f"without its {', '.join(left_out)}" if left_out else None

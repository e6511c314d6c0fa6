"""SQL for the attempts of a task that are over: the column `attempts` of its result.

A result has room for one run of a task. When the state of another run replaces it, the
same statement keeps what the result says of the earlier run in a JSON array.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from celery import states
from sqlalchemy import (
    Boolean,
    ColumnElement,
    Dialect,
    and_,
    case,
    false,
    func,
    literal_column,
    or_,
    true,
)

from cadasta.workertoolbox.results._database.json_functions import (
    appended,
    as_json,
    ascii_text,
    json_object,
    last_characters,
    last_item,
    seconds_between,
    text_of,
)
from cadasta.workertoolbox.results._database.statuses import ENDED, LOST
from cadasta.workertoolbox.results._database.tables import taskmeta
from cadasta.workertoolbox.results._history.attempt_records import (
    MAX_ATTEMPTS,
    MAX_ERROR_BYTES,
    MAX_TRACEBACK,
    REPLACED,
    attempt_record,
)

#: Two starts on one worker that are closer than this are one run: the worker's main
#: process measures the start of a task too. It writes a start after twice this time.
SAME_RUN_S = 0.2

_old = taskmeta.c


def is_other_run(dialect: Dialect, new: Any) -> ColumnElement[bool]:
    """Return a condition that the stored state belongs to another run.

    Args:
        new: The run that stores a state: `started_at`, `worker`, `retries` and
            `published_at`, each NULL if it is not known.
    """
    is_near = and_(
        seconds_between(dialect, _old.started_at, new.started_at) < SAME_RUN_S,
        func.coalesce(_old.worker == new.worker, true()),
        func.coalesce(_old.retries == new.retries, true()),
        func.coalesce(_old.published_at == new.published_at, true()),
    )
    return and_(_old.started_at != new.started_at, ~is_near)


def is_forgotten(new: Any) -> ColumnElement[bool]:
    """Return a condition that the stored state belongs to a forgotten run.

    A repeated statement stores the same state again, not a new run.
    """
    return and_(func.coalesce(_old.forgotten, false()), _old.date_done != new.date_done)


def with_replaced_attempt(dialect: Dialect, new: Any) -> ColumnElement[Any]:
    """Return the attempts after a new state has replaced the stored one.

    Args:
        new: The columns of the new state (`excluded`).
    """
    was_retried = and_(
        _old.status == states.RETRY,
        or_(new.status != states.RETRY, _old.retries != new.retries),
    )
    is_replaced = or_(was_retried, is_other_run(dialect, new), is_forgotten(new))
    attempts = _with(dialect, _stored_attempt(dialect, new))
    return case((is_replaced, attempts), else_=_old.attempts)


def with_duplicate(dialect: Dialect, record: ColumnElement[Any]) -> ColumnElement[Any]:
    """Return the attempts with a record of the run that ended after a success."""
    return _with(dialect, as_json(dialect, record))


def is_last(dialect: Dialect, record: ColumnElement[Any]) -> ColumnElement[bool]:
    """Return a condition that the last attempt is the run of this record.

    It is if a statement is repeated whose answer was lost.
    """
    given = as_json(dialect, record)
    last = last_item(dialect, _old.attempts)
    same = (
        text_of(dialect, last, key) == text_of(dialect, given, key)
        for key in ("started_at", "outcome")
    )
    return func.coalesce(and_(*same), false())


def late_record(row: Mapping[str, Any], outcome: str) -> str:
    """Return the record, as JSON, of a run whose state comes after that of another run.

    Args:
        row: The row of its state, as the backend builds it.
    """
    return json.dumps(
        attempt_record(row, finished_at=row.get("date_done"), outcome=outcome)
    )


def _was_published_again(new: Any) -> ColumnElement[bool]:
    """Return a condition that the new run has a later message, which is not a retry.

    `Task.replace` publishes such a message. Its first run ends without a state.
    """
    is_retry = func.coalesce(_old.retries < new.retries, false())
    return and_(_old.published_at < new.published_at, ~is_retry)


def _stored_attempt(dialect: Dialect, new: Any) -> ColumnElement[Any]:
    """Return the record of the run whose state is stored, and is replaced by `new`."""
    error = ascii_text(dialect, func.substr(_old.result, 1, MAX_ERROR_BYTES))
    is_over = _has_status(states.RETRY, *ENDED)
    outcome = case(
        *((is_over, _old.status), (_was_published_again(new), REPLACED)), else_=LOST
    )
    failed = _has_status(*states.EXCEPTION_STATES)
    record = {
        **{"retries": _old.retries, "queue": _old.queue, "worker": _old.worker},
        **{"published_at": _old.published_at, "started_at": _old.started_at},
        **{"finished_at": case((is_over, _old.date_done)), "outcome": outcome},
        **{"error": case((failed, error)), "error_group": _old.error_group},
        "traceback": last_characters(dialect, _old.traceback, MAX_TRACEBACK),
    }
    return json_object(dialect, record)


def _has_status(*statuses: str) -> ColumnElement[bool]:
    # As text: `compile_statement` accepts no list as a parameter, and this is short.
    names = ", ".join(f"'{status}'" for status in sorted(statuses))
    return literal_column(f"celery_taskmeta.status IN ({names})", Boolean)


def _with(dialect: Dialect, record: ColumnElement[Any]) -> ColumnElement[Any]:
    return appended(dialect, _old.attempts, record, MAX_ATTEMPTS)

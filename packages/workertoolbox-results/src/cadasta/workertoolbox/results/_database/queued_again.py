"""Whether a message queues an ended task again."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from celery import states
from sqlalchemy import ColumnElement, and_, case, false, func, or_
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement

from cadasta.workertoolbox.results._database.tables import taskmeta
from cadasta.workertoolbox.results._database.types import NaiveInstant, NaiveUTC


class _DayLater(FunctionElement[datetime]):
    """SQL for the instant a day after another one in Celery's tables.

    The clocks of a publisher and a worker may differ by this time.
    """

    name = "day_later"
    inherit_cache = True
    type = NaiveInstant()


@compiles(_DayLater)
def _compile_text(element: _DayLater, compiler: SQLCompiler, **kw: Any) -> str:
    instant = compiler.process(element.clauses, **kw)
    return f"strftime('%Y-%m-%d %H:%M:%f', {instant}, '+1 day')"


@compiles(_DayLater, "postgresql")
def _compile_sum(element: _DayLater, compiler: SQLCompiler, **kw: Any) -> str:
    return f"({compiler.process(element.clauses, **kw)} + interval '1 day')"


def is_queued_again(
    published_at: ColumnElement[Any], retries: ColumnElement[Any]
) -> ColumnElement[bool]:
    """Return the condition that a message queues the task of an ended result again.

    It does if it was published after the end, and later than the message of the run
    that ended, so copies of that message do not count. A message with fewer retries is
    that of an earlier attempt, unless it was published more than a day after the end;
    so is any message if that of the run is not known. A task that was not run is queued
    by each later message. The triggers of the database apply the same rule to messages
    that are stored after the task was archived.

    Args:
        published_at: When the message was published, or NULL if it does not say.
        retries: Its number of retries.
    """
    result = taskmeta.c
    was_published = NaiveUTC(result.published_at)
    much_later = _DayLater(result.date_done)
    is_unrun = and_(
        *(result.status == states.REVOKED, result.started_at.is_(None)),
        result.worker.is_(None),
    )
    later = case(
        (was_published > result.date_done, was_published), else_=result.date_done
    )
    since = case(
        (retries < result.retries, much_later),
        (or_(result.not_run.is_not(None), is_unrun), was_published),
        (or_(result.published_at.is_(None), result.retries.is_(None)), much_later),
        else_=later,
    )
    return func.coalesce(NaiveUTC(published_at) > since, false())

"""Which of two messages of a task its row keeps: ON CONFLICT in SQL."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import (
    ColumnElement,
    and_,
    case,
    false,
    func,
    literal_column,
    or_,
    select,
    true,
)
from sqlalchemy.dialects.postgresql import Insert

from cadasta.workertoolbox.results._database import tables
from cadasta.workertoolbox.results._database.queued_again import is_queued_again
from cadasta.workertoolbox.results._database.statuses import ENDED


def upsert_task(insert: Insert) -> Insert:
    """Add ON CONFLICT: the row keeps the latest message and its first publication.

    The latest message is that of the latest attempt, and of the last publication if an
    attempt is published twice. The message of a task that has ended is not replaced,
    except by the one that was run, or by one that was published after the end: anybody
    who can publish could hide the task behind a forged copy. In the latter case the
    times stay those of the run until the archiver queues the task again. The time at
    which a monitor saw the task stays that of the message stored first.
    """
    old, new = tables.task.c, insert.excluded
    is_same_attempt = and_(new.replaced == old.replaced, new.retries == old.retries)
    is_later_attempt = or_(
        new.replaced > old.replaced,
        and_(new.replaced == old.replaced, new.retries > old.retries),
    )
    is_again = and_(is_same_attempt, new.published_at > old.published_at)
    is_earlier = and_(
        new.scheduled_at < old.scheduled_at,
        or_(~is_same_attempt, new.published_at.is_(None)),
    )
    # Each attempt is published at a time of its own.
    is_new = func.coalesce(new.published_at != old.published_at, true())
    replaces = and_(or_(is_later_attempt, is_again), is_new)
    changes = {
        column.name: case((replaces, new[column.name]), else_=column)
        for column in old
        if column.name not in ("id", "scheduled_at", "seen_at")
    }
    is_shown = and_(is_again, ~_has_ended_with_another_message())
    changes["scheduled_at"] = case(
        (or_(is_earlier, is_shown), new.scheduled_at), else_=old.scheduled_at
    )
    changes["seen_at"] = case((is_shown, new.seen_at), else_=old.seen_at)
    return insert.on_conflict_do_update(
        index_elements=[old.id],
        set_=changes,
        where=or_(
            and_(replaces, ~_has_ended_with_another_message(_queues_again())),
            and_(is_earlier, ~is_later_attempt),
        ),
    )


#: The columns of the new message. Those of `excluded` itself would add it to the FROM
#: of a subquery.
_NEW: Mapping[str, ColumnElement[Any]] = {
    column.name: literal_column(f"excluded.{column.name}") for column in tables.task.c
}


#: The columns by which lists find a task with a message.
_FOUND_BY = ("name", "queue", "root_id", "parent_id", "group_id")


def _queues_again() -> ColumnElement[bool]:
    """Return the condition that the new message queues an ended task again.

    The end is shown until it is archived, so that the new message must not change how
    the task is found.
    """
    return and_(
        is_queued_again(_NEW["published_at"], _NEW["retries"]),
        *(
            literal_column(f"workertoolbox_task.{name}").is_not_distinct_from(
                _NEW[name]
            )
            for name in _FOUND_BY
        ),
    )


def _has_ended_with_another_message(
    *unless: ColumnElement[bool],
) -> ColumnElement[bool]:
    """Return the condition that the stored end is not of the new message.

    Args:
        unless: Conditions on the result without which it counts.
    """
    result, new = tables.taskmeta.c, _NEW
    name = func.substr(new["name"], 1, tables.NAME_LENGTH)
    is_of_message = and_(
        # NULL if the result says nothing about its message.
        func.coalesce(result.retries == new["retries"], false()),
        func.coalesce(result.published_at == new["published_at"], true()),
        func.coalesce(result.name, name) == name,
        func.coalesce(result.root_id, new["root_id"], "")
        == func.coalesce(new["root_id"], ""),
    )
    return (
        select(result.task_id)
        .where(
            result.task_id == literal_column("workertoolbox_task.id"),
            # Not IN, whose parameters cannot be used for several rows at once.
            or_(*(result.status == status for status in ENDED)),
            ~is_of_message,
            *(~condition for condition in unless),
        )
        .exists()
    )

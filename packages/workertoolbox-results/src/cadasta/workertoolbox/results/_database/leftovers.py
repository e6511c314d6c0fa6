"""Tables and indexes that only earlier releases use, and their removal.

A schema changes in three steps. Migrations *expand* it: they add what a release needs,
and earlier releases still run on it. The archiver then *moves* the tasks of earlier
releases to the history. When that is done, and all processes of earlier releases have
stopped, `tasks upgrade --finish` *contracts* the schema: it drops the tables and
indexes that are listed here. A new database is contracted at once.

The removal is not a migration, because migrations are ordered, and the removal always
comes last: a later release adds migrations after the newest one, whether or not a
database is contracted. A release adds to these lists what it does not need any more.
Migrations must not depend on the tables and indexes in the lists.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from sqlalchemy import Connection, column, func, inspect, select, table, true

from cadasta.workertoolbox.results._database.statuses import ENDED
from cadasta.workertoolbox.results._database.tables import taskmeta
from cadasta.workertoolbox.results._database.types import Instant, naive_utc
from cadasta.workertoolbox.results._errors import UpgradeUnfinished

#: Tables of earlier releases: tasks without a result, results without a task, and how
#: far monitors have filled these tables.
TABLES = ("workertoolbox_queued", "workertoolbox_untracked", "workertoolbox_watermark")

#: Indexes with which earlier releases list results. Now the history has these results.
INDEXES = (
    "ix_workertoolbox_result_status",
    "ix_workertoolbox_result_status_name",
    "ix_workertoolbox_result_worker",
)

#: How long a task may stay live after it could have been archived: monitors may have
#: been stopped for a while.
GRACE = timedelta(hours=1)

#: A monitor of an earlier release advances the watermark every ten seconds, to two
#: minutes before the present.
MONITOR_GONE_AFTER = timedelta(minutes=5)

#: Maximum number of tasks that are counted, because counting takes time.
MAX_COUNTED = 100_000

#: Time in which a monitor of an earlier release stores a message that it has received.
COMMITTED_AFTER = timedelta(minutes=2)

_watermark = table(
    "workertoolbox_watermark",
    column("seen_at", Instant),
    column("expanded_at", Instant),
)


def find_listed_until(connection: Connection) -> datetime | None:
    """Return the instant up to which `workertoolbox_queued` has all queued tasks.

    Only monitors of earlier releases fill the table. Therefore it is not later than the
    upgrade, and None in a database without that table.
    """
    if not inspect(connection).has_table(_watermark.name):
        return None
    row = connection.execute(select(_watermark)).one_or_none()
    if row is None or row.seen_at is None or row.expanded_at is None:
        return None
    until: datetime = min(row.seen_at, row.expanded_at - COMMITTED_AFTER)
    return until


def require_finished(connection: Connection, *, archive_after: timedelta) -> None:
    """Check that the tables and indexes are not needed any more.

    Args:
        archive_after: How long after its end a task is archived.

    Raises:
        UpgradeUnfinished: There are ended tasks that are not archived yet, or a monitor
            of an earlier release has worked in the last minutes.
    """
    now = datetime.now(UTC)
    if inspect(connection).has_table(_watermark.name):
        seen_at = connection.scalar(select(_watermark.c.seen_at))
        if seen_at is not None and seen_at > now - MONITOR_GONE_AFTER:
            raise UpgradeUnfinished(
                "a monitor of an earlier release was at work in the last "
                f"{MONITOR_GONE_AFTER // timedelta(minutes=1)} minutes; stop it, and "
                "try again later"
            )
    waiting = _count_unarchived(connection, before=now - archive_after - GRACE)
    if waiting:
        about = "more than " if waiting > MAX_COUNTED else ""
        raise UpgradeUnfinished(
            f"tasks that ended and are not in history yet: "
            f"{about}{min(waiting, MAX_COUNTED)}; keep monitors running, or run "
            "`celery -A … tasks archive --once`, and try again"
        )


def _count_unarchived(connection: Connection, *, before: datetime) -> int:
    is_old = taskmeta.c.date_done < naive_utc(before)
    ended = (
        select(taskmeta.c.id)
        .where(taskmeta.c.archived_at.is_(None), taskmeta.c.status.in_(ENDED))
        .where(taskmeta.c.task_id.is_not(None), func.coalesce(is_old, true()))
        .limit(MAX_COUNTED + 1)
        .subquery()
    )
    return connection.scalar(select(func.count()).select_from(ended)) or 0


def drop_indexes(connection: Connection) -> None:
    """Drop the indexes.

    Args:
        connection: On PostgreSQL, one that commits each statement. Readers and writers
            do not wait.
    """
    is_postgresql = connection.dialect.name == "postgresql"
    concurrently = "CONCURRENTLY " if is_postgresql else ""
    for name in INDEXES:
        connection.exec_driver_sql(f"DROP INDEX {concurrently}IF EXISTS {name}")


def drop_tables(connection: Connection) -> None:
    """Drop the tables."""
    for name in TABLES:
        connection.exec_driver_sql(f"DROP TABLE IF EXISTS {name}")

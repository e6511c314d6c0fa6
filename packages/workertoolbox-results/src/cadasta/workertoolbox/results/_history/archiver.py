"""The archiver: moves ended tasks from the live tables to the history.

It takes the tasks that ended a while ago, in batches. One transaction inserts a batch
into `workertoolbox_history`, deletes its messages and planned steps, and marks its
results in `celery_taskmeta`. So each task is counted once, even if the archiver is
interrupted. Rows that another transaction has locked stay for the next batch.

If a message or a state is stored after the task was archived, triggers reset the mark,
and the task is live again. The archiver then takes its row out of the history, and
archives the task again (`reopening.py`).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Container, Iterable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    Connection,
    Select,
    delete,
    func,
    insert,
    literal,
    select,
    update,
)

from cadasta.workertoolbox.results._database.archived import are_on
from cadasta.workertoolbox.results._database.engine import begin_write_transaction
from cadasta.workertoolbox.results._database.id_lists import is_in
from cadasta.workertoolbox.results._database.statuses import ENDED
from cadasta.workertoolbox.results._database.tables import (
    attempt,
    history,
    planned,
    task,
    taskmeta,
)
from cadasta.workertoolbox.results._database.view import live
from cadasta.workertoolbox.results._history.archived_values import archived_values
from cadasta.workertoolbox.results._history.contributions import (
    contribution_columns,
    contributions_of,
)
from cadasta.workertoolbox.results._history.days import (
    Day,
    add_day,
    day_of_end,
    existing_days,
    find_nearest,
)
from cadasta.workertoolbox.results._history.ended_tasks import (
    ArchiveOptions,
    EndedTask,
    find_ended,
)
from cadasta.workertoolbox.results._history.error_groups import (
    Occurrence,
    occurrences,
    record_errors,
)
from cadasta.workertoolbox.results._history.reopening import queue_again, reopen
from cadasta.workertoolbox.results._history.retention import DEFAULT
from cadasta.workertoolbox.results._history.rollup import add_contributions
from cadasta.workertoolbox.results._history.unrun_steps import BREAKING, close_steps

#: Key of the advisory lock of the archiver in PostgreSQL; see `ADVISORY_LOCK_KEY`.
ARCHIVER_LOCK_KEY = 0x776F7262

#: How long the archiver waits for a lock: less than PostgreSQL takes to look for a
#: deadlock (`deadlock_timeout`), so that only the archiver is rolled back.
LOCK_TIMEOUT_MS = 500

#: How long PostgreSQL keeps the lock of an archiver whose process or host hangs. The
#: archiver itself needs milliseconds between two statements.
IDLE_TIMEOUT_MS = 10_000

#: The rows of a batch lie together, because they were written at about the same time.
#: With the default of 4, which is for rows on different pages of a disk, PostgreSQL
#: reads tables of some hundred thousand rows whole, several times in each batch.
RANDOM_PAGE_COST = 1.1


def archive_batch(connection: Connection, options: ArchiveOptions) -> int:
    """Archive a batch of ended tasks in the transaction of a connection.

    Returns:
        The number of archived results. It is 0 without ended tasks, and while another
        archiver is at work.
    """
    if not lock_archive(connection):
        return 0
    now = datetime.now(UTC)
    found = find_ended(connection, options, now)
    if not found:
        return 0
    broken = [each.id for each in found if each.status in BREAKING]
    close_steps(connection, broken, now, options.faulty)
    reopened = reopen(connection, found, options.faulty)
    days = _by_day(connection, found, options, now)
    inserted: list[Sequence[Any]] = []
    for day, some in days.items():
        inserted += _insert(connection, day, some, options, now)
    add_contributions(connection, contributions_of(inserted))
    errors = _find_errors(connection, inserted, days)
    record_errors(connection, errors, faulty=options.faulty)
    ids = {id for some in days.values() for id in some}
    moved = [each for each in found if each.id in ids]
    waiting = [each.id for each in moved if each.is_queued_again]
    _delete_live(connection, moved, reopened)
    connection.execute(
        update(taskmeta)
        .where(is_in(connection, taskmeta.c.task_id, [each.id for each in moved]))
        .values(archived_at=now)
    )
    queue_again(connection, waiting, now)
    return len(moved)


def lock_archive(connection: Connection) -> bool:
    """Keep other archivers from working until the end of the transaction.

    On PostgreSQL, the transaction waits only briefly for other locks (55P03), and
    prefers indexes.

    Returns:
        False if another archiver is at work.
    """
    if connection.dialect.name == "sqlite":
        driver: Any = connection.connection.driver_connection
        if not driver.in_transaction:
            begin_write_transaction(connection)
        return True
    return bool(connection.execute(_LOCK).scalar_one())


_LOCK = select(
    func.pg_try_advisory_xact_lock(ARCHIVER_LOCK_KEY),
    *(
        func.set_config(name, str(value), True)
        for name, value in (
            ("lock_timeout", LOCK_TIMEOUT_MS),
            ("idle_in_transaction_session_timeout", IDLE_TIMEOUT_MS),
            ("random_page_cost", RANDOM_PAGE_COST),
        )
    ),
)


def _by_day(
    connection: Connection,
    found: Iterable[EndedTask],
    options: ArchiveOptions,
    now: datetime,
) -> dict[Day, list[str]]:
    """Group the ids of tasks by the retention class and the day that keeps them.

    Tasks without a table are left out if the table cannot be created.
    """
    today = now.date()
    groups: dict[Day, list[str]] = defaultdict(list)
    for each in found:
        day = day_of_end(each.ended_at or now, since=each.since, today=today)
        groups[Day(_keep(each, options.retention.keeps), day)].append(each.id)
    if connection.dialect.name == "sqlite":
        return groups
    known = {*existing_days(connection)}
    stored: dict[Day, list[str]] = defaultdict(list)
    for wanted, ids in groups.items():
        exists = wanted in known or add_day(connection, wanted)
        if (table := wanted if exists else find_nearest(wanted, known)) is not None:
            stored[table] += ids
    return stored


def _keep(ended: EndedTask, keeps: frozenset[str]) -> str:
    for value in (ended.name, ended.status):
        if value in keeps:
            return str(value)
    return DEFAULT


def _insert(
    connection: Connection,
    day: Day,
    ids: Sequence[str],
    options: ArchiveOptions,
    now: datetime,
) -> Iterable[Sequence[Any]]:
    """Insert tasks into the history; return the columns that the rollups need."""
    values = archived_values(connection.dialect.name, options, now)
    values |= {"keep": literal(day.keep), "day": literal(day.day, history.c.day.type)}
    columns = [column.name for column in history.c]
    query: Select[Any] = select(*(values[name].label(name) for name in columns))
    ended = query.where(is_in(connection, live.c.id, ids), live.c.status.in_(ENDED))
    statement = insert(history).from_select(columns, ended)
    returned = contribution_columns(connection.dialect.name)
    return connection.execute(statement.returning(*returned)).all()


def _delete_live(
    connection: Connection, moved: Sequence[EndedTask], reopened: Container[str]
) -> None:
    """Delete the messages of tasks, and the steps that announced them."""
    ids = [each.id for each in moved]
    seen = [
        each.id
        for each in moved
        if (each.has_message or each.id in reopened) and not each.is_queued_again
    ]
    for column in (task.c.id, attempt.c.task_id):
        of_tasks = is_in(connection, column, seen)
        connection.execute(delete(column.table).where(of_tasks))
    # A locked step stays, but is not shown; the housekeeping deletes it.
    steps = select(planned.c.id).where(is_in(connection, planned.c.id, ids))
    unlocked = steps.with_for_update(skip_locked=True)
    connection.execute(delete(planned).where(planned.c.id.in_(unlocked)))


def _find_errors(
    connection: Connection, inserted: Iterable[Sequence[Any]], days: Iterable[Day]
) -> Iterator[Occurrence]:
    """Yield the errors of tasks that were inserted, if their groups are known."""
    ids = [id for id, *_, group, attempts in inserted if group or attempts]
    if not ids:
        return
    query = select(history).where(
        is_in(connection, history.c.id, ids), are_on(each.day for each in days)
    )
    for row in connection.execute(query).mappings():
        yield from occurrences({**row})

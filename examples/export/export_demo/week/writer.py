"""Writing of the week: as monitors, workers and the archiver would have written it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from celery import Celery
from sqlalchemy import Connection, insert, select, update

from cadasta.workertoolbox.results import TaskStore, database_url, open_engine
from cadasta.workertoolbox.results._backend.rows import waited_s
from cadasta.workertoolbox.results._database.engine import insert_into
from cadasta.workertoolbox.results._database.tables import (
    backlog,
    error_group,
    operation,
    operation_task,
    release,
    taskmeta,
)
from cadasta.workertoolbox.results._database.types import naive_utc
from cadasta.workertoolbox.results._history.attempt_records import attempt_record
from cadasta.workertoolbox.results._history.ended_tasks import archive_options
from cadasta.workertoolbox.results._history.error_groups import IGNORED, RESOLVED
from cadasta.workertoolbox.results._monitor.archiving import Archiving
from cadasta.workertoolbox.results._monitor.message import read_task
from cadasta.workertoolbox.results._monitor.quarantine_record import quarantine_record
from cadasta.workertoolbox.results._monitor.records import Record
from cadasta.workertoolbox.results._monitor.unreadable import UnreadableMessage
from cadasta.workertoolbox.results._monitor.upserts import write_batch
from cadasta.workertoolbox.results._store.errors.changes import KINDS
from cadasta.workertoolbox.results._store.operations.rows import (
    add_operation,
    new_key,
)
from cadasta.workertoolbox.results.backend import Backend
from export_demo.week.fleet import Run
from export_demo.week.samples import samples
from export_demo.week.story import Week

#: From the publication of a message until a monitor has read it.
_COPIED_AFTER = timedelta(milliseconds=20)

#: Number of rows in one statement.
_BATCH_SIZE = 1000


def has_week(store: TaskStore) -> bool:
    """Return whether the database has a generated week that ended today."""
    yesterday = datetime.now(UTC) - timedelta(days=1)
    page = store.search("service:shop name:orders.confirm", since=yesterday, limit=1)
    return bool(page.tasks)


def write(app: Celery, week: Week) -> None:
    """Store a week in the database of an app, and archive the tasks that have ended.

    Args:
        app: Its result backend is that of this package, and its tables exist.
    """
    backend = app.backend
    assert isinstance(backend, Backend)
    engine = open_engine(database_url(app.conf.result_backend))
    results = list(_results(backend, week.runs))
    records = list(_records(week))
    try:
        with engine.begin() as connection:
            write_batch(connection, records)
            _insert_results(connection, results)
            _insert_samples(connection, week)
            _insert_rerun(connection, week)
            _insert_releases(connection, week)
        Archiving(engine, archive_options(app), should_stop=lambda: False).run_once()
        with engine.begin() as connection:
            _decide(connection, week)
    finally:
        engine.dispose()


def _records(week: Week) -> Iterable[Record]:
    for run in week.runs:
        if run.tracked:
            yield read_task(run.call.message(), seen_at=run.call.at + _COPIED_AFTER)
    for message, seen_at in week.unreadable:
        try:
            read_task(message, seen_at=seen_at)
        except UnreadableMessage as error:
            yield quarantine_record(message, reason=str(error), seen_at=seen_at)


def _results(backend: Backend, runs: Iterable[Run]) -> Iterable[dict[str, Any]]:
    """Yield a row for each task that has run, with its earlier attempts."""
    rows: dict[str, dict[str, Any]] = {}
    for run in runs:
        if run.state is None:
            continue
        row = _row(backend, run)
        earlier = rows.get(run.call.id)
        if earlier is not None:
            ended_at, outcome = earlier["date_done"], earlier["status"]
            record = attempt_record(earlier, finished_at=ended_at, outcome=outcome)
            row["attempts"] = [*(earlier["attempts"] or ()), record]
        rows[run.call.id] = row
    return rows.values()


def _row(backend: Backend, run: Run) -> dict[str, Any]:
    call, worker, failure = run.call, run.worker, run.failure
    assert run.state is not None
    request = call.request(worker or "")
    row = backend.build_row(
        call.id,
        failure.as_result() if failure else run.result,
        run.state,
        failure.traceback() if failure else None,
        request if worker else None,
        failure.fingerprint(call.name) if failure and worker else None,
    )
    shown_at = run.ended_at or run.started_at
    assert shown_at is not None
    step = {
        **{"name": call.name, "queue": call.queue, "root_id": call.root_id},
        **{"parent_id": call.parent_id, "not_run": run.not_run, "traceback": None},
    }
    return {
        **dict.fromkeys(taskmeta.c.keys()[1:]),
        **row,
        **(step if run.not_run else {}),
        "date_done": naive_utc(shown_at),
        "started_at": run.started_at,
        "waited_s": run.started_at and waited_s(request, run.started_at),
    }


def _insert_results(connection: Connection, rows: Sequence[dict[str, Any]]) -> None:
    for start in range(0, len(rows), _BATCH_SIZE):
        connection.execute(insert(taskmeta), rows[start : start + _BATCH_SIZE])


def _insert_samples(connection: Connection, week: Week) -> None:
    # A monitor at work has taken a sample of the latest minute already.
    statement = insert_into(backlog, connection.dialect.name).on_conflict_do_nothing()
    rows = list(samples(week.runs, since=week.since, until=week.until))
    for start in range(0, len(rows), _BATCH_SIZE):
        connection.execute(statement, rows[start : start + _BATCH_SIZE])


def _insert_rerun(connection: Connection, week: Week) -> None:
    rerun = week.rerun
    if not rerun.failed:
        return
    connection.execute(insert(operation), rerun.operation())
    connection.execute(insert(operation_task), rerun.tasks())


def _insert_releases(connection: Connection, week: Week) -> None:
    statement = insert_into(release, connection.dialect.name).on_conflict_do_nothing()
    connection.execute(
        statement,
        [
            {"service": service, "version": version, "first_at": at}
            for service, version, at in week.releases
        ],
    )


def _decide(connection: Connection, week: Week) -> None:
    """Resolve and ignore groups of errors, as a user has done meanwhile."""
    for type, at in week.resolved.items():
        values = {"state": RESOLVED, "resolved_at": at}
        _change(connection, type, values, at, "the cause is repaired")
    for type in week.ignored:
        at = week.since + timedelta(days=5)
        _change(connection, type, {"state": IGNORED}, at, "the customer knows")


def _change(
    connection: Connection, type: str, values: dict[str, Any], at: datetime, reason: str
) -> None:
    """Change the groups of a type of error, and write that into the journal."""
    groups = select(error_group.c.id).where(error_group.c.type == type)
    for id in connection.scalars(groups).all():
        change = update(error_group).where(error_group.c.id == id)
        connection.execute(change.values(values))
        add_operation(
            connection,
            id=new_key(),
            kind=KINDS[values["state"]],
            made_by="ann@laptop",
            reason=reason,
            selection=id,
            started_at=at,
            finished_at=at,
        )

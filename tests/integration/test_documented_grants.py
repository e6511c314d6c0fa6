"""The grants in docs/how-to/database.md are sufficient, and each of them is needed."""

from __future__ import annotations

import itertools
import uuid
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any

import pytest
from celery import Celery, states
from celery.app.task import Context
from kombu import Queue
from kombu.message import Message
from sqlalchemy import (
    Connection,
    Engine,
    NullPool,
    create_engine,
    make_url,
    text,
    update,
)
from sqlalchemy.exc import DBAPIError

from cadasta.workertoolbox.results import (
    Redaction,
    TaskStore,
    UnknownStatus,
    UnknownValue,
    rerun,
    resume_rerun,
)
from cadasta.workertoolbox.results._backend.release import insert_release
from cadasta.workertoolbox.results._database.engine import open_engine
from cadasta.workertoolbox.results._database.schema import check_schema
from cadasta.workertoolbox.results._database.tables import operation_task, taskmeta
from cadasta.workertoolbox.results._errors import DatabaseUnavailable, ResultsError
from cadasta.workertoolbox.results._headers import BEAT, REFUSED
from cadasta.workertoolbox.results._history.archiver import archive_batch
from cadasta.workertoolbox.results._history.backlog import sample_backlog
from cadasta.workertoolbox.results._history.ended_tasks import ArchiveOptions
from cadasta.workertoolbox.results._history.erase import erase_workflow
from cadasta.workertoolbox.results._history.error_groups import (
    Occurrence,
    record_errors,
)
from cadasta.workertoolbox.results._history.horizon import report_progress
from cadasta.workertoolbox.results._history.purge import find_older, purge
from cadasta.workertoolbox.results._history.rollup import (
    add_contributions,
    delete_old_intervals,
)
from cadasta.workertoolbox.results._history.stored_error import StoredError
from cadasta.workertoolbox.results._history.tally import Contribution
from cadasta.workertoolbox.results._history.tidying import analyze, note_retention, tidy
from cadasta.workertoolbox.results._monitor.message import read_task
from cadasta.workertoolbox.results._monitor.quarantine import (
    drop,
    get_quarantined,
    replay,
)
from cadasta.workertoolbox.results._monitor.quarantine_record import quarantine_record
from cadasta.workertoolbox.results._monitor.releases import write_releases
from cadasta.workertoolbox.results._monitor.upserts import write_batch
from cadasta.workertoolbox.results._reruns.headers import (
    Headers,
    make_chords,
    places_of,
)
from cadasta.workertoolbox.results._store.fleet.fleet_figures import FleetReader
from support.brokers import result_backend_url
from support.documented_grants import single_privileges, user_with_role

CHORD = {"task": "export.total", "options": {"task_id": "3"}}

#: The body of a message with the signature of the body of its chord.
MESSAGE_BODY: Any = (
    b'[[], {}, {"chord": {"task": "export.total", "options": {"task_id": "3"}}}]'
)


#: An error of the workflow that is erased.
ERROR = Occurrence(
    *("1:0123456789abcdef", "1", "export.echo", datetime.now(UTC)),
    StoredError("ValueError", "export.tasks.echo", "ValueError: no"),
)

#: Views for figures, without the prefix of their names.
FIGURE_VIEWS = ("figures", "queues", "error_groups", "schedules")

_numbers = itertools.count(10)

#: Archives tasks that have just ended, even if another clock is ahead.
AT_ONCE = ArchiveOptions(delay_s=-60)


@cache
def engine_for(database: str) -> Engine:
    """Return an engine that keeps its connection, and its compiled statements.

    PostgreSQL checks the privileges of an open connection with each statement.
    """
    return open_engine(make_url(database), pool_size=1)


def make_app(database: str) -> Celery:
    """Return an app that stores its results in a database, and does not retry."""
    app = Celery("roles", backend=result_backend_url(database), set_as_current=False)
    # A missing privilege is an outage, of which the retries take ten seconds.
    app.conf.result_backend_always_retry = False
    return app


def use_as_worker(database: str) -> None:
    """Store results, a group and a chord of new tasks, and delete expired results.

    A row that exists is changed without `INSERT`, and keeps its number.
    """
    app = make_app(database)
    backend: Any = app.backend
    id = uuid.uuid4().hex
    with closing(backend.database):
        store_results(app, id, group_id=f"g{id}")
        with backend.database.connect() as connection:
            insert_release(connection, "export", "1.4.0")
        assert app.AsyncResult(f"expired-{id}").state == states.PENDING
        backend.forget(id)
        backend.forget(f"expired-{id}")
        backend.expires = timedelta(microseconds=1)
        backend.cleanup()


def store_results(app: Celery, id: str, *, group_id: str) -> None:
    """Store results, a group and a chord."""
    backend: Any = app.backend
    request = Context(id=id, root_id=id, group=group_id, group_index=0, chord=CHORD)
    for state in ("PROGRESS", states.SUCCESS, states.SUCCESS):
        backend.store_result(id, 42, state, request=request)
    result = app.GroupResult(group_id, [app.AsyncResult(id)])
    result.save()
    app.GroupResult.restore(group_id, backend=backend)
    backend.apply_chord((group_id, result.results), None)
    backend.set_chord_size(group_id, 2)
    backend.on_chord_part_return(request, states.SUCCESS, 42)


def write_as_monitor(database: str) -> None:
    """Store tasks, planned steps, a refused task and a quarantined message."""
    engine = engine_for(database)
    check_schema(engine)
    # The last message is the one that a replayer replays.
    for retries in (1, 0):
        beat = {BEAT: describe_run("1")}
        message = make_message("1", MESSAGE_BODY, group="g", retries=retries, **beat)
        headers = {"retries": retries, REFUSED: "AccessDenied", BEAT: describe_run("4")}
        refused = make_message("4", MESSAGE_BODY.replace(b"3", b"5"), **headers)
        now = datetime.now(UTC)
        quarantined = quarantine_record(refused, reason="x", seen_at=now)
        records = [read_task(each, seen_at=now) for each in (message, refused)]
        with engine.begin() as connection:
            write_batch(connection, [*records, quarantined])


def describe_run(id: str) -> dict[str, Any]:
    """Return what beat says of a task, with a list of its entries."""
    entries = [["nightly", "export.echo", "every 60s", None, None]]
    return {"entry": "nightly", "id": id, "entries": entries}


def make_message(id: str, body: Any, **headers: Any) -> Message:
    """Return a task message as a consumer receives it."""
    return Message(
        body=body,
        headers={"task": "export.echo", "id": id, "root_id": id, **headers},
        content_type="application/json",
        content_encoding="utf-8",
    )


def use_as_monitor(database: str) -> None:
    """Write as a monitor, archive, and read figures as for `--prometheus`."""
    write_as_monitor(database)
    engine = engine_for(database)
    FleetReader.from_engine(engine).read()
    now = datetime.now(UTC)
    later = now + next(_numbers) * timedelta(days=1)
    ended = [Contribution("export.echo", "export", states.SUCCESS, now)]
    with engine.begin() as connection:
        write_releases(connection, {("export", "1.4.0"): now})
        report_progress(connection, "monitor", read_until=now, now=now)
        archive_batch(connection, AT_ONCE)
        tidy(connection, now + timedelta(hours=2), AT_ONCE)
        note_retention(connection, now, AT_ONCE)
        analyze(connection, now, AT_ONCE)
        # Not called by the above if it was called a short while ago.
        connection.execute(text("SELECT workertoolbox_analyze_history()"))
        day = {"keep": "default", "day": later.date()}
        for action in ("add", "drop"):
            function = f"workertoolbox_{action}_day"
            connection.execute(text(f"SELECT {function}(:keep, :day)"), day)
        add_contributions(connection, ended)
        add_contributions(connection, ended, -1)
        # There is one sample a minute.
        sample_backlog(connection, now + next(_numbers) * timedelta(minutes=1))
        delete_old_intervals(connection, now)
        record_errors(connection, [ERROR])
        record_errors(connection, [ERROR], -1)


def use_as_reader(database: str) -> None:
    """Get a result and a group, and list tasks and attempts."""
    app = make_app(database)
    backend: Any = app.backend
    with closing(backend.database), TaskStore(result_backend_url(database)) as store:
        app.AsyncResult("1").get(timeout=1)
        app.GroupResult.restore("g", backend=backend)
        assert {task.id for task in store.workflow("1")} == {"1", "3"}
        assert not store.list(status="QUEUED")
        assert not store.list(name="nothing")
        assert not store.search("name:nothing").tasks
        assert store.attempts("1")
        since = datetime.now(UTC) - timedelta(hours=1)
        assert store.figures(since=since).count
        assert not store.backlog_samples(since=since)
        assert store.error_groups()
        assert store.schedules()
        assert not store.releases()
        assert store.operations()
        assert store.quarantined(excerpt_size=10)
        assert store.health().quarantined
        assert store.schedule_runs(store.schedules())
        assert not store.reruns(["1"])
        assert store.why("3").evidence["chord_id"] == "g"
        assert store.why("unknown").status is None
        with store.engine.connect() as connection:  # As people do who write SQL.
            for view in ("tasks", *FIGURE_VIEWS):
                connection.execute(text(f"SELECT * FROM workertoolbox_{view}")).all()


def use_as_operator(database: str) -> None:
    """Refuse to run a task again, and look for a task that may have been published."""
    app = make_app(database)
    app.amqp.queues.add(Queue("export"))
    with TaskStore(result_backend_url(database)) as store:
        [refused] = rerun(app, store, ["1"])
        assert refused.state == "refused"
        store.search("name:export.echo")
        id = refused.operation_id
        unknown = {"new_id": "unknown", "state": "publishing"}
        with store.engine.begin() as connection:
            query = update(operation_task).where(operation_task.c.operation_id == id)
            connection.execute(query.values(unknown))
        [doubtful] = resume_rerun(app, store, id)
        assert doubtful.state == "publishing"
        use_headers(store)


def use_headers(store: TaskStore) -> None:
    """Make a new chord, as for the failed tasks of a header."""
    [call] = store.stored_calls(["1"])
    # The history does not keep the chord of a task that succeeded.
    member = replace(call, options={"next": {"chord": CHORD}})
    [place] = places_of(member)
    Headers(store.engine, timeout_s=store.timeout_s).find_obstacle(place)
    make_chords(store.engine, member, uuid.uuid4().hex)


def use_as_purger(database: str) -> None:
    """Purge rows and days, and erase a workflow."""
    with TaskStore(result_backend_url(database)) as store:
        with pytest.raises(UnknownValue):
            store.check_filters(name="export.ech")
        with pytest.raises(UnknownStatus):
            store.check_filters(status="FAILED")
        later = datetime.now(UTC) + timedelta(days=1)
        for status in (states.SUCCESS, None):
            expired = find_older(store.engine, later, status=status)
            for _ in purge(store.engine, expired):
                pass
        for _ in erase_workflow(store.engine, "1"):
            pass
        store.resolve_error_group(ERROR.group)
        store.forget_schedule("nightly")


def use_as_replayer(database: str) -> None:
    """List, show, replay and drop messages in quarantine."""
    engine = engine_for(database)
    check_schema(engine)
    first, second, *_ = TaskStore.from_engine(engine).quarantined(limit=10)
    assert get_quarantined(engine, first.id).body
    replay(engine, first.id, redaction=Redaction(), max_bytes=1000)
    drop(engine, second.id)


def populate(database: str) -> None:
    """Fill every table."""
    app = make_app(database)
    backend: Any = app.backend
    write_as_monitor(database)
    with engine_for(database).begin() as owner:
        record_errors(owner, [ERROR])
    with TaskStore(result_backend_url(database)) as store:
        assert [each.state for each in rerun(app, store, ["1"])] == ["refused"]
    with closing(backend.database):
        store_results(app, "1", group_id="g")
        for id in ("2", "forgotten"):
            backend.store_result(id, 42, states.SUCCESS)
        backend.forget("forgotten")
    populate_history(app, engine_for(database))


def populate_history(app: Celery, engine: Engine) -> None:
    """Archive tasks, and store messages and states of them afterwards."""
    backend: Any = app.backend
    second, long, forgotten = (uuid.uuid4().hex for _ in range(3))
    with closing(backend.database):
        backend.store_result(second, ValueError("first"), states.FAILURE)
        backend.store_result(long, "long", states.SUCCESS)
        backend.store_result(forgotten, 42, states.SUCCESS)
        backend.forget(forgotten)
        with engine.begin() as connection:
            message = make_message(second, b"[[], {}, {}]")
            write_batch(connection, [read_task(message, seen_at=datetime.now(UTC))])
            archive_batch(connection, replace(AT_ONCE, max_result_bytes=3))
            connection.execute(taskmeta.delete().where(taskmeta.c.task_id == second))
        backend.store_result(second, 42, states.SUCCESS)
        with engine.begin() as connection:
            message = make_message(long, b"[[], {}, {}]")
            write_batch(connection, [read_task(message, seen_at=datetime.now(UTC))])


@pytest.fixture
def owner(database: str) -> Iterator[Connection]:
    """A connection of the owner of the tables."""
    engine = create_engine(database, isolation_level="AUTOCOMMIT", poolclass=NullPool)
    with engine.connect() as connection:
        yield connection


@pytest.mark.parametrize(
    ("role", "use"),
    [
        ("worker", use_as_worker),
        ("monitor", use_as_monitor),
        ("reader", use_as_reader),
        ("operator", use_as_operator),
        ("purger", use_as_purger),
        ("replayer", use_as_replayer),
    ],
)
def test_a_role_has_exactly_the_privileges_that_it_needs(
    database: str, owner: Connection, role: str, use: Callable[[str], None]
) -> None:
    needless = []
    with user_with_role(database, role) as restricted:
        user = make_url(restricted).username
        populate(database)
        use(restricted)
        for privilege, target in single_privileges(role):
            populate(database)
            owner.exec_driver_sql(f"REVOKE {privilege} ON {target} FROM {user}")
            try:
                use(restricted)
            except (DBAPIError, ResultsError) as error:
                assert "permission denied" in str(error)
            else:
                needless.append((privilege, target))
            owner.exec_driver_sql(f"GRANT {privilege} ON {target} TO {user}")
        use(restricted)

    assert needless == []


@pytest.mark.parametrize("role", ["worker", "reader"])
def test_only_the_purger_can_delete(database: str, role: str) -> None:
    populate(database)
    with user_with_role(database, role) as restricted:
        with pytest.raises(DatabaseUnavailable, match="permission denied"):
            use_as_purger(restricted)
        with TaskStore(result_backend_url(database)) as store:
            kept = store.list()

    assert len(kept) == 9

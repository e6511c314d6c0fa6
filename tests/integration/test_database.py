"""Backend, store and schema on PostgreSQL and SQLite."""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import permutations
from typing import Any

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from celery import Celery, states
from celery.app.task import Context
from kombu.message import Message
from sqlalchemy import Connection, Engine, create_engine, delete, select, text

from cadasta.workertoolbox.results import TaskStore, upgrade
from cadasta.workertoolbox.results._database.schema import VERSION_TABLE
from cadasta.workertoolbox.results._database.tables import attempt, metadata, task
from cadasta.workertoolbox.results._database.upgrade import alembic_config
from cadasta.workertoolbox.results._database.view import create_view
from cadasta.workertoolbox.results._monitor.message import quarantine_record, read_task
from cadasta.workertoolbox.results._monitor.upserts import write_batch
from servers.postgresql import PostgreSQL

REQUEST = Context(
    id="1",
    task="export.project",
    args=["a"],
    kwargs={"b": 1},
    hostname="worker@host",
    retries=1,
    delivery_info={"routing_key": "export"},
    root_id="0",
    parent_id="0",
)


@pytest.fixture
def engine(result_backend: str) -> Iterator[Engine]:
    engine = create_engine(plain(result_backend))
    yield engine
    engine.dispose()


@pytest.fixture
def store(result_backend: str) -> Iterator[TaskStore]:
    with TaskStore(result_backend) as store:
        yield store


def plain(database: str) -> str:
    return database.removeprefix("workertoolbox+")


def service(backend: str) -> Celery:
    app = Celery("tests", broker="memory://", backend=backend, set_as_current=False)
    app.conf.result_extended = True
    return app


def message(body: str, **headers: Any) -> Message:
    return Message(
        body=body,
        content_type="application/json",
        content_encoding="utf-8",
        delivery_info={"routing_key": "export"},
        headers={"id": "1", "task": "export.project", "root_id": "1", **headers},
    )


def differences(connection: Connection) -> list[Any]:
    options = {"version_table": VERSION_TABLE}
    context = MigrationContext.configure(connection, opts=options)
    return list(compare_metadata(context, metadata))


def test_the_schema_from_migrations_is_the_one_in_the_code(engine: Engine) -> None:
    with engine.connect() as connection:
        assert differences(connection) == []


def test_a_state_is_stored_and_its_end_keeps_its_start(
    result_backend: str, store: TaskStore
) -> None:
    backend = service(result_backend).backend
    backend.store_result("1", {}, states.STARTED, request=REQUEST)
    backend.get_state("1")  # A start is written, at the latest, when it is asked for.
    started = store.get("1")
    backend.store_result("1", [1, "é"], states.SUCCESS, request=REQUEST)
    done = store.get("1")

    assert (started.status, started.result, started.finished_at) == (
        "STARTED",
        None,
        None,
    )
    assert (done.status, done.result, done.tracked) == ("SUCCESS", [1, "é"], False)
    assert (done.name, done.args, done.kwargs) == ("export.project", ["a"], {"b": 1})
    assert done.started_at == started.started_at
    assert done.finished_at is not None
    assert abs(datetime.now(UTC) - done.finished_at) < timedelta(minutes=1)


def test_celerys_own_backend_and_ours_read_and_write_the_same_rows(
    result_backend: str, store: TaskStore
) -> None:
    ours, celerys = service(result_backend), service(f"db+{plain(result_backend)}")
    ours.backend.store_result("1", "ours", states.SUCCESS, request=REQUEST)
    celerys.backend.store_result("2", "celery's", states.SUCCESS, request=REQUEST)
    ours.backend.mark_as_failure("3", KeyError("ours"), request=REQUEST)
    celerys.backend.mark_as_failure("4", KeyError("celery's"), request=REQUEST)

    for app in (ours, celerys):
        assert app.AsyncResult("1").get(timeout=1) == "ours"
        assert app.AsyncResult("2").get(timeout=1) == "celery's"
        assert app.AsyncResult("3").result.args == ("ours",)
        assert app.AsyncResult("4").result.args == ("celery's",)
    assert {task.id for task in store.list()} == {"1", "2", "3", "4"}


def test_rows_that_celery_wrote_before_are_adopted(
    result_backend: str, engine: Engine
) -> None:
    with engine.begin() as connection:
        for kind, name in (
            ("VIEW", "workertoolbox_tasks"),
            *(("TABLE", table.name) for table in metadata.sorted_tables),
            ("TABLE", VERSION_TABLE),
        ):
            connection.execute(text(f"DROP {kind} {name}"))
        if engine.dialect.name == "postgresql":
            connection.execute(text("DROP FUNCTION workertoolbox_json"))
            for sequence in ("task_id_sequence", "taskset_id_sequence"):
                connection.execute(text(f"DROP SEQUENCE IF EXISTS {sequence}"))
    celerys = service(f"db+{plain(result_backend)}")
    celerys.backend.store_result("1", "before", states.SUCCESS, request=REQUEST)
    upgrade(result_backend)
    service(result_backend).backend.store_result("2", "after", states.SUCCESS)
    with TaskStore(result_backend) as store:
        results = {task.id: task.result for task in store.list()}

    assert results == {"1": "before", "2": "after"}


def test_text_that_postgresql_refuses_is_stored_in_an_escaped_form(
    engine: Engine, store: TaskStore
) -> None:
    body = r'[["\u0000", "\ud800", NaN, 1e400, -1e400, {"\u0000": "é"}], {}, {}]'
    now = datetime.now(UTC)
    odd = message(body, task="export.\0\ud800", origin="\0")
    with engine.begin() as connection:
        write_batch(
            connection,
            [
                read_task(odd, seen_at=now),
                quarantine_record(
                    message("\ud800", tag="\0"), reason="\0", seen_at=now
                ),
            ],
        )
    stored = store.get("1")

    assert stored.name == r"export.\x00\ud800"
    assert stored.args == [
        r"\x00",
        r"\ud800",
        "NaN",
        "Infinity",
        "-Infinity",
        {r"\x00": "é"},
    ]


@pytest.mark.parametrize("size", [1, 2, 4])
def test_messages_of_a_task_give_the_same_rows_in_any_order(
    engine: Engine, store: TaskStore, size: int
) -> None:
    now = datetime.now(UTC)
    messages = [
        read_task(
            message(
                f"[[{retries}], {{}}, {{}}]",
                retries=retries,
                replaced_task_nesting=replaced,
                workertoolbox_published_at=f"2026-01-01T00:00:{replaced}{retries}Z",
            ),
            seen_at=now,
        )
        for replaced, retries in ((0, 0), (0, 1), (0, 2), (1, 0))
    ]
    seen = []
    for order in permutations(messages):
        with engine.begin() as connection:
            for table in (task, attempt):
                connection.execute(delete(table))
            for start in range(0, len(order), size):
                write_batch(connection, order[start : start + size])
            rows = sorted(map(tuple, connection.execute(select(attempt))))
        seen.append((store.get("1"), rows))

    assert all(each == seen[0] for each in seen)
    known, attempts = seen[0]
    assert (known.args, known.retries) == ([0], 0)
    assert known.scheduled_at == datetime(2026, 1, 1, tzinfo=UTC)
    assert len(attempts) == 4


def test_a_pickled_result_is_null_in_the_view_and_hides_nothing_else(
    engine: Engine, store: TaskStore
) -> None:
    with engine.begin() as connection:
        connection.execute(
            text(
                "INSERT INTO celery_taskmeta (task_id, status, result)"
                " VALUES ('1', 'SUCCESS', :pickled), ('2', 'SUCCESS', :json)"
            ),
            {"pickled": pickle.dumps(42), "json": b"42"},
        )

    assert {task.id: task.result for task in store.list()} == {"1": None, "2": 42}


def test_an_eta_ahead_is_scheduled_and_one_gone_by_is_queued(
    engine: Engine, store: TaskStore
) -> None:
    now = datetime.now(UTC)
    with engine.begin() as connection:
        write_batch(
            connection,
            [
                read_task(
                    message(
                        "[[], {}, {}]",
                        id=id,
                        eta=(now + timedelta(seconds=seconds)).isoformat(),
                    ),
                    seen_at=now,
                )
                for id, seconds in (("past", -1), ("ahead", 60))
            ],
        )

    assert {task.id: task.status for task in store.list()} == {
        "past": "QUEUED",
        "ahead": "SCHEDULED",
    }


def test_the_view_from_migrations_is_the_one_in_its_file(
    postgresql: PostgreSQL,
) -> None:
    pytest.importorskip("psycopg2")
    query = text(
        "SELECT pg_get_viewdef('workertoolbox_tasks'::regclass), "
        "pg_get_functiondef('workertoolbox_json'::regproc)"
    )
    with postgresql.database() as database:
        upgrade(database)
        engine = create_engine(database)
        with engine.begin() as connection:
            migrated = connection.execute(query).one()
            connection.execute(text("DROP VIEW workertoolbox_tasks"))
            connection.execute(text("DROP FUNCTION workertoolbox_json"))
            create_view(connection)
            created = connection.execute(query).one()
        engine.dispose()

    assert created == migrated


def test_a_role_keeps_its_grants_on_the_view_when_steps_are_added_to_it(
    postgresql: PostgreSQL,
) -> None:
    pytest.importorskip("psycopg2")
    granted = "SELECT has_table_privilege('reader', 'workertoolbox_tasks', 'SELECT')"
    with postgresql.database() as database:
        engine = create_engine(database)
        with engine.begin() as connection:
            command.upgrade(alembic_config(connection), "0002")
            connection.execute(text("CREATE ROLE reader"))
            connection.execute(text("GRANT SELECT ON workertoolbox_tasks TO reader"))
        upgrade(database)
        with engine.begin() as connection:
            assert connection.execute(text(granted)).scalar_one()
            connection.execute(text("DROP OWNED BY reader; DROP ROLE reader"))
        engine.dispose()


def test_the_view_is_read_where_the_server_would_rather_do_it_in_parallel(
    postgresql: PostgreSQL,
) -> None:
    pytest.importorskip("psycopg2")
    eager = (
        "SET min_parallel_table_scan_size = 0; SET parallel_setup_cost = 0; "
        "SET parallel_tuple_cost = 0"
    )
    fill = (
        "INSERT INTO celery_taskmeta (id, task_id, status, result) "
        "SELECT n, n, 'SUCCESS', '42' FROM generate_series(1, 10000) n"
    )
    with postgresql.database() as database:
        upgrade(database)
        engine = create_engine(database)
        with engine.begin() as connection:
            connection.execute(text(fill))
            connection.execute(text(eager))
            total = "SELECT sum(CAST(result AS integer)) FROM workertoolbox_tasks"
            assert connection.execute(text(total)).scalar_one() == 420_000
        engine.dispose()


def test_a_wrong_password_is_one_error_without_it(postgresql: PostgreSQL) -> None:
    pytest.importorskip("psycopg2")
    with postgresql.database() as database:
        wrong = create_engine(database).url.set(username="nobody", password="geheim")
        with pytest.raises(ConnectionError, match="nobody") as caught:
            TaskStore(wrong.render_as_string(hide_password=False))

    assert "geheim" not in str(caught.value)


def test_a_chord_that_is_published_again_stays_as_far_as_it_is(
    result_backend: str, engine: Engine
) -> None:
    with service(result_backend) as app:
        backend: Any = app.backend
        for number in range(2):
            backend.apply_chord(("chord", []), None)
            part = Context(id=f"{number}", group="chord", group_index=number)
            backend.on_chord_part_return(part, states.SUCCESS, number)
            # Who publishes it for the second time is killed before this.
            if number == 0:
                backend.set_chord_size("chord", 3)
    with engine.connect() as connection:
        query = text("SELECT size, done, started_at FROM workertoolbox_chord")
        [row] = list(connection.execute(query))

    assert row == (3, 2, None)

"""Migrations of the schema, also while other releases use the database."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from celery import states
from kombu.message import Message
from sqlalchemy import Connection, Engine, create_engine, text

from cadasta.workertoolbox.results import DatabaseUnavailable, TaskStore, upgrade
from cadasta.workertoolbox.results._database.schema import VERSION_TABLE
from cadasta.workertoolbox.results._database.tables import metadata
from cadasta.workertoolbox.results._database.upgrade import alembic_config
from cadasta.workertoolbox.results._database.view import create_view
from cadasta.workertoolbox.results._monitor.message import read_task
from cadasta.workertoolbox.results._monitor.upserts import write_batch
from servers.postgresql import PostgreSQL
from support.result_backends import REQUEST, app_with_backend, sqlalchemy_url
from support.sample_tasks import insert_sample_tasks
from support.statements import execute


def differences(connection: Connection) -> list[Any]:
    """Return the differences between the database and the tables in the code."""
    options = {"version_table": VERSION_TABLE}
    context = MigrationContext.configure(connection, opts=options)
    return list(compare_metadata(context, metadata))


def test_the_migrations_create_the_schema_that_the_code_defines(engine: Engine) -> None:
    with engine.connect() as connection:
        assert differences(connection) == []


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


def test_an_upgrade_keeps_results_that_celery_stored_before(
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
    celerys = app_with_backend(f"db+{sqlalchemy_url(result_backend)}")
    celerys.backend.store_result("1", "before", states.SUCCESS, request=REQUEST)
    upgrade(result_backend)
    app_with_backend(result_backend).backend.store_result("2", "after", states.SUCCESS)
    with TaskStore(result_backend) as store:
        results = {task.id: task.result for task in store.list()}

    assert results == {"1": "before", "2": "after"}


def test_a_role_keeps_its_grants_on_the_view_when_a_migration_changes_it(
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


@contextmanager
def at_revision(server: PostgreSQL, revision: str) -> Iterator[tuple[str, Engine]]:
    """Yield the URL and an engine of a database with the schema of an older release."""
    pytest.importorskip("psycopg2")
    with server.database() as database:
        engine = create_engine(database)
        try:
            with engine.begin() as connection:
                connection.execute(text("DROP SCHEMA public CASCADE"))
                connection.execute(text("CREATE SCHEMA public"))
                connection.execute(text("GRANT USAGE ON SCHEMA public TO PUBLIC"))
                command.upgrade(alembic_config(connection), revision)
            yield database, engine
        finally:
            engine.dispose()


def indexes(engine: Engine) -> dict[str, bool]:
    """Return whether each index of the toolbox is valid, by name."""
    query = "SELECT indexrelid::regclass::text, indisvalid FROM pg_index"
    with engine.connect() as connection:
        found = {name: valid for name, valid in connection.execute(text(query))}
    return {name: valid for name, valid in found.items() if "workertoolbox" in name}


def test_an_upgrade_continues_where_another_was_interrupted(
    postgresql: PostgreSQL,
) -> None:
    with at_revision(postgresql, "0004") as (database, engine):
        with engine.begin() as connection:
            insert_sample_tasks(connection, 1000)
        reader = create_engine(database, isolation_level="REPEATABLE READ")
        # The upgrade waits for this transaction, until its own timeout.
        with reader.connect() as reading:
            reading.execute(text("SELECT count(*) FROM workertoolbox_task"))
            with_timeout = f"{database}?options=-cstatement_timeout%3D1000"
            with pytest.raises(DatabaseUnavailable, match="statement timeout"):
                upgrade(with_timeout)
        reader.dispose()
        interrupted = indexes(engine)
        upgrade(database)
        upgraded = indexes(engine)
        with TaskStore(database) as store:
            assert len(store.list(limit=2000)) >= 1000
            assert store.stuck(timedelta(0))

    assert [valid for valid in interrupted.values()].count(False) == 1
    assert len(upgraded) > len(interrupted)
    assert all(upgraded.values())


def test_roles_of_an_older_release_work_after_an_upgrade(
    postgresql: PostgreSQL,
) -> None:
    with at_revision(postgresql, "0004") as (database, engine), ExitStack() as stack:
        url = engine.url
        roles = {name: f"{name}_{url.database}" for name in ("reader", "monitor")}
        for role in roles.values():
            execute(database, f"CREATE ROLE {role} LOGIN PASSWORD 'geheim'")
            stack.callback(execute, database, f"DROP OWNED BY {role}; DROP ROLE {role}")
        execute(
            database,
            "GRANT SELECT ON workertoolbox_tasks, celery_taskmeta, "
            f"workertoolbox_version TO {roles['reader']}; "
            "GRANT SELECT, INSERT, UPDATE ON workertoolbox_task, "
            f"workertoolbox_attempt TO {roles['monitor']}",
        )
        with engine.begin() as connection:
            insert_sample_tasks(connection, 1000)
        upgrade(database)
        reader, monitor = (
            url.set(username=role, password="geheim").render_as_string(False)
            for role in roles.values()
        )
        with TaskStore(reader) as store:
            assert store.list() and store.list(status="QUEUED")
        monitor_engine = create_engine(monitor)
        late = Message(
            body="[[], {}, {}]",
            content_type="application/json",
            content_encoding="utf-8",
            headers={"id": "late", "task": "export.project"},
        )
        seen = [read_task(late, seen_at=datetime.now(UTC) - timedelta(hours=1))]
        with monitor_engine.begin() as connection:
            write_batch(connection, seen)
        monitor_engine.dispose()
        with TaskStore(database) as store:
            assert store.get("late").status == "QUEUED"

"""Migrations of the schema, also while other releases use the database."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from celery import states
from kombu.message import Message
from sqlalchemy import Connection, Engine, create_engine, text

from cadasta.workertoolbox.results import (
    DatabaseUnavailable,
    TaskStore,
    UnsupportedServer,
    upgrade,
)
from cadasta.workertoolbox.results._backend.release import insert_release
from cadasta.workertoolbox.results._database import upgrade as upgrades
from cadasta.workertoolbox.results._database.schema import (
    HEAD_REVISION,
    VERSION_TABLE,
    current_revision,
)
from cadasta.workertoolbox.results._database.tables import history, metadata
from cadasta.workertoolbox.results._database.upgrade import alembic_config
from cadasta.workertoolbox.results._database.view import (
    create_views,
    execute_file,
)
from cadasta.workertoolbox.results._monitor.message import read_task
from cadasta.workertoolbox.results._monitor.releases import write_releases
from cadasta.workertoolbox.results._monitor.upserts import write_batch
from servers.postgresql import PostgreSQL
from support.brokers import result_backend_url
from support.documents import DOCUMENTS, blocks
from support.result_backends import REQUEST, app_with_backend, sqlalchemy_url
from support.sample_tasks import insert_sample_tasks
from support.statements import execute

#: Properties that Alembic does not compare: types, partitions, conditions of indexes.
DEFINITIONS = """
SELECT relname, attname, concat_ws(' ', format_type(atttypid, atttypmod), attnotnull,
    pg_get_partkeydef(pg_class.oid))
FROM pg_class JOIN pg_attribute ON attrelid = pg_class.oid
WHERE relnamespace = to_regnamespace(:schema) AND relkind IN ('r', 'p')
AND NOT relispartition AND attnum > 0 AND NOT attisdropped
UNION ALL
SELECT tablename, indexname, replace(indexdef, :schema || '.', '')
FROM pg_indexes WHERE schemaname = :schema
"""

#: Views, functions and triggers, by name.
PROGRAMS = """
SELECT viewname, definition FROM pg_views WHERE schemaname = 'public'
UNION ALL
SELECT proname, pg_get_functiondef(oid) FROM pg_proc
WHERE pronamespace = 'public'::regnamespace AND prokind <> 'a'
UNION ALL
SELECT aggfnoid::text, concat_ws(' ', aggtransfn, aggfinalfn, agginitval)
FROM pg_aggregate
WHERE aggfinalfn::text LIKE 'workertoolbox%'
UNION ALL
SELECT tgname, pg_get_triggerdef(oid) FROM pg_trigger WHERE NOT tgisinternal
"""

VIEWS = {
    f"workertoolbox_{name}"
    for name in (
        *("tasks", "live", "tracked"),
        *("figures", "queues", "error_groups", "schedules"),
    )
}

#: Indexes that SQLite does not have.
OF_POSTGRESQL = {f"ix_workertoolbox_history_{name}" for name in ("json", "long")}

PROGRAMS_OF_SQLITE = (
    "SELECT name, sql FROM sqlite_master WHERE type IN ('view', 'trigger')"
)


def is_named(name: str | None, kind: str, _: Any) -> bool:
    """Return whether to compare an object by its name; partitions are left out."""
    return kind != "table" or not str(name).startswith(f"{history.name}_")


def test_the_migrations_create_the_schema_that_the_code_defines(engine: Engine) -> None:
    def is_compared(_: object, name: str | None, *others: object) -> bool:
        return name not in OF_POSTGRESQL or not is_sqlite

    is_sqlite = engine.dialect.name == "sqlite"
    options: dict[str, Any] = {
        "version_table": VERSION_TABLE,
        "include_name": is_named,
        "include_object": is_compared,
    }
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts=options)

        assert compare_metadata(context, metadata) == []


def definitions(connection: Connection, schema: str) -> dict[tuple[str, str], str]:
    rows = connection.execute(text(DEFINITIONS), {"schema": schema})
    known = {table.name for table in metadata.sorted_tables}
    return {(table, name): shown for table, name, shown in rows if table in known}


def test_columns_partitions_and_indexes_are_those_that_the_code_defines(
    database: str,
) -> None:
    engine = create_engine(database)
    with engine.connect() as connection:
        connection.execute(text("CREATE SCHEMA other; SET search_path = other"))
        metadata.create_all(connection)
        defined = definitions(connection, "other")
        migrated = definitions(connection, "public")
    engine.dispose()

    assert migrated == defined
    assert "WHERE" in migrated["celery_taskmeta", "ix_workertoolbox_result_ended"]
    assert "LIST (keep)" in migrated["workertoolbox_history", "id"]


def test_views_functions_and_triggers_are_those_in_the_files(engine: Engine) -> None:
    is_sqlite = engine.dialect.name == "sqlite"
    query = text(PROGRAMS_OF_SQLITE if is_sqlite else PROGRAMS)
    with engine.begin() as connection:
        migrated = {tuple(row) for row in connection.execute(query)}
        for name, _ in migrated:
            if is_sqlite and name not in VIEWS:
                connection.execute(text(f"DROP TRIGGER {name}"))
        for name in ("history", "day_values"):
            execute_file(connection, name)
        create_views(connection)
        execute_file(connection, "figures")
        created = {tuple(row) for row in connection.execute(query)}

    assert created == migrated
    assert {name for name, _ in migrated} >= {*VIEWS, "workertoolbox_result_changed"}


def test_an_upgrade_keeps_results_that_celery_stored_before(
    result_backend: str, engine: Engine, tmp_path: Path
) -> None:
    if engine.dialect.name == "postgresql":
        drop_everything(engine)
    else:
        result_backend = result_backend_url(f"sqlite:///{tmp_path}/celerys.sqlite")
    celerys = app_with_backend(f"db+{sqlalchemy_url(result_backend)}")
    celerys.backend.store_result("1", "before", states.SUCCESS, request=REQUEST)
    upgrade(result_backend)
    app_with_backend(result_backend).backend.store_result("2", "after", states.SUCCESS)
    with TaskStore(result_backend) as store:
        results = {task.id: task.result for task in store.list()}

    assert results == {"1": "before", "2": "after"}


def test_the_documented_removal_leaves_nothing_and_an_upgrade_starts_anew(
    database: str,
) -> None:
    upgrade(database)
    removal, _ = documented_removal()
    engine = create_engine(database)
    with engine.begin() as connection:
        execute_unformatted(connection, removal)
        left = connection.exec_driver_sql(
            "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace"
            " UNION ALL SELECT proname FROM pg_proc"
            " WHERE pronamespace = 'public'::regnamespace"
        )

        assert left.scalars().all() == []
    engine.dispose()

    assert upgrade(database) == HEAD_REVISION


def test_the_documented_removal_can_keep_the_results_of_celery(database: str) -> None:
    upgrade(database)
    celerys = app_with_backend(f"db+{database}").backend
    celerys.store_result("1", "before", states.SUCCESS)
    removal, left_out = documented_removal()
    for each in left_out:
        assert removal.count(each) == 1
        removal = removal.replace(each, "")
    engine = create_engine(database)
    with engine.begin() as connection:
        execute_unformatted(connection, removal)
        tables = connection.exec_driver_sql(
            "SELECT tablename FROM pg_tables WHERE schemaname = 'public' UNION ALL"
            " SELECT viewname FROM pg_views WHERE schemaname = 'public'"
        )

        assert {*tables.scalars()} == {"celery_taskmeta", "celery_tasksetmeta"}
    engine.dispose()
    celerys.store_result("2", "after", states.SUCCESS)
    celerys.store_result("1", "again", states.SUCCESS)

    assert [celerys.get_result(id) for id in ("1", "2")] == ["before", "after"]
    celerys.forget("1")
    assert celerys.get_state("1") == states.PENDING


def documented_removal() -> tuple[str, list[str]]:
    """Return the statements that remove the tables, and what to leave out of them."""
    page = DOCUMENTS["docs/how-to/database.md"].read_text("utf-8")
    [removal] = blocks(page, "postgres")
    _, _, variant = page.partition("Then leave\nout `")
    condition, _, _ = variant.partition("`")
    last_line = removal.text.splitlines()[-1]
    assert "the line with `DROP SEQUENCE`" in variant
    return removal.text, [condition, last_line]


def execute_unformatted(connection: Connection, statements: str) -> None:
    unformatted = connection.execution_options(no_parameters=True)
    unformatted.exec_driver_sql(statements)


@pytest.mark.parametrize("kind", ["postgresql", "sqlite"])
def test_two_upgrades_at_the_same_time_create_one_schema(
    kind: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    url = f"sqlite:///{tmp_path}/new.sqlite"
    if kind == "postgresql":
        url = request.getfixturevalue("database")
        engine = create_engine(url)
        drop_everything(engine)
        engine.dispose()
    with ThreadPoolExecutor(2) as pool:
        revisions = [*pool.map(upgrade, [url, url])]

    assert revisions == [HEAD_REVISION] * 2
    with TaskStore(url) as store:
        assert store.list() == []


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


def drop_everything(engine: Engine) -> None:
    with engine.begin() as connection:
        connection.execute(text("DROP SCHEMA public CASCADE"))
        connection.execute(text("CREATE SCHEMA public"))
        connection.execute(text("GRANT USAGE ON SCHEMA public TO PUBLIC"))


@contextmanager
def at_revision(server: PostgreSQL, revision: str) -> Iterator[tuple[str, Engine]]:
    """Yield the URL and an engine of a database with the schema of an older release."""
    pytest.importorskip("psycopg2")
    with server.database() as database:
        engine = create_engine(database)
        try:
            drop_everything(engine)
            with engine.begin() as connection:
                command.upgrade(alembic_config(connection), revision)
            yield database, engine
        finally:
            engine.dispose()


def test_a_server_that_is_too_old_is_refused_before_anything_changes(
    postgresql: PostgreSQL, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upgrades, "MIN_POSTGRESQL", 99)
    with at_revision(postgresql, "0004") as (database, engine):
        with pytest.raises(UnsupportedServer, match="the toolbox needs 99 or later"):
            upgrade(database)
        with engine.connect() as connection:
            assert current_revision(connection) == "0004"


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


def test_after_an_upgrade_the_planner_knows_how_many_results_are_not_archived(
    postgresql: PostgreSQL,
) -> None:
    open_ends = """EXPLAIN (FORMAT JSON) SELECT 1 FROM celery_taskmeta
        WHERE archived_at IS NULL AND status = 'SUCCESS'"""
    with at_revision(postgresql, "0004") as (database, engine):
        with engine.begin() as connection:
            insert_sample_tasks(connection, 1000)
            stored = connection.execute(
                text("SELECT count(*) FROM celery_taskmeta WHERE status = 'SUCCESS'")
            ).scalar_one()
        upgrade(database)
        with engine.connect() as connection:
            [plan] = connection.execute(text(open_ends)).scalar_one()

    assert plan["Plan"]["Plan Rows"] == pytest.approx(stored, rel=0.2)


def test_roles_of_an_older_release_work_after_an_upgrade(
    postgresql: PostgreSQL,
) -> None:
    with at_revision(postgresql, "0004") as (database, engine), ExitStack() as stack:
        url = engine.url
        uses = ("reader", "monitor", "worker")
        roles = {name: f"{name}_{url.database}" for name in uses}
        for role in roles.values():
            execute(database, f"CREATE ROLE {role} LOGIN PASSWORD 'geheim'")
            stack.callback(execute, database, f"DROP OWNED BY {role}; DROP ROLE {role}")
        execute(
            database,
            "GRANT SELECT ON workertoolbox_tasks, celery_taskmeta, "
            f"workertoolbox_version TO {roles['reader']}; "
            "GRANT SELECT, INSERT, UPDATE ON workertoolbox_task, "
            f"workertoolbox_attempt TO {roles['monitor']}; "
            f"GRANT SELECT, INSERT ON celery_tasksetmeta TO {roles['worker']}",
        )
        with engine.begin() as connection:
            insert_sample_tasks(connection, 1000)
        upgrade(database)
        reader, monitor, worker = (
            url.set(username=role, password="geheim").render_as_string(False)
            for role in roles.values()
        )
        worker_engine = create_engine(worker)
        with worker_engine.begin() as connection:
            insert_release(connection, "export", "1.4.0")
        worker_engine.dispose()
        with TaskStore(reader) as store:
            assert store.list() and store.list(status="QUEUED")
            assert store.quarantined(excerpt_size=10) == []
            assert [each.version for each in store.releases()] == ["1.4.0"]
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
            write_releases(connection, {("export", "1.4.0"): seen[0].scheduled_at})
        monitor_engine.dispose()
        with TaskStore(database) as store:
            assert store.get("late").status == "QUEUED"
            [release] = store.releases()
            assert release.first_at == seen[0].scheduled_at

"""Upgrades of a database on which other releases go on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta

import pytest
from alembic import command
from kombu.message import Message
from sqlalchemy import Engine, create_engine, text

from cadasta.workertoolbox.results import DatabaseUnavailable, TaskStore, upgrade
from cadasta.workertoolbox.results._database.upgrade import alembic_config
from cadasta.workertoolbox.results._monitor.message import read_task
from cadasta.workertoolbox.results._monitor.upserts import write_batch
from servers.postgresql import PostgreSQL
from support.sample_tasks import insert_sample_tasks


@contextmanager
def at_revision(server: PostgreSQL, revision: str) -> Iterator[tuple[str, Engine]]:
    """Yield a database that an older release has made."""
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
    """Return the indexes by name, and whether they can be used."""
    query = "SELECT indexrelid::regclass::text, indisvalid FROM pg_index"
    with engine.connect() as connection:
        found = {name: valid for name, valid in connection.execute(text(query))}
    return {name: valid for name, valid in found.items() if "workertoolbox" in name}


def test_an_upgrade_goes_on_where_one_was_interrupted(postgresql: PostgreSQL) -> None:
    with at_revision(postgresql, "0004") as (database, engine):
        with engine.begin() as connection:
            insert_sample_tasks(connection, 1000)
        reader = create_engine(database, isolation_level="REPEATABLE READ")
        # Whoever reads is waited for, and in the end the upgrade is given up.
        with reader.connect() as old:
            old.execute(text("SELECT count(*) FROM workertoolbox_task"))
            impatient = f"{database}?options=-cstatement_timeout%3D1000"
            with pytest.raises(DatabaseUnavailable, match="statement timeout"):
                upgrade(impatient)
        reader.dispose()
        left = indexes(engine)
        upgrade(database)
        made = indexes(engine)
        with TaskStore(database) as store:
            assert len(store.list(limit=2000)) >= 1000
            assert store.stuck(timedelta(0))

    assert [valid for valid in left.values()].count(False) == 1
    assert len(made) > len(left)
    assert all(made.values())


def test_what_a_role_could_do_it_can_do_after_an_upgrade(
    postgresql: PostgreSQL,
) -> None:
    with at_revision(postgresql, "0004") as (database, engine), ExitStack() as stack:
        url = engine.url
        roles = {name: f"{name}_{url.database}" for name in ("reader", "monitor")}
        for role in roles.values():
            execute(engine, f"CREATE ROLE {role} LOGIN PASSWORD 'geheim'")
            stack.callback(execute, engine, f"DROP OWNED BY {role}; DROP ROLE {role}")
        execute(
            engine,
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
        narrow = create_engine(monitor)
        late = Message(
            body="[[], {}, {}]",
            content_type="application/json",
            content_encoding="utf-8",
            headers={"id": "late", "task": "export.project"},
        )
        seen = [read_task(late, seen_at=datetime.now(UTC) - timedelta(hours=1))]
        with narrow.begin() as connection:
            write_batch(connection, seen)
        narrow.dispose()
        with TaskStore(database) as store:
            assert store.get("late").status == "QUEUED"


def execute(engine: Engine, statement: str) -> None:
    with engine.begin() as connection:
        connection.execute(text(statement))

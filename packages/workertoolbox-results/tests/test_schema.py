"""The revision of the schema, and databases that do not have it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from celery import Celery, states
from sqlalchemy import text

from cadasta.workertoolbox.results import SchemaOutdated, TaskStore, upgrade
from cadasta.workertoolbox.results._database import schema
from cadasta.workertoolbox.results._database.engine import database_url, open_engine
from cadasta.workertoolbox.results._database.schema import (
    HEAD_REVISION,
    VERSION_TABLE,
)
from cadasta.workertoolbox.results._database.tables import metadata
from cadasta.workertoolbox.results._database.upgrade import alembic_config

#: Indexes that SQLite does not have.
OF_POSTGRESQL = {f"ix_workertoolbox_history_{name}" for name in ("json", "long")}


def set_revision(url: str, revision: str) -> None:
    engine = open_engine(database_url(url))
    with engine.begin() as connection:
        query = text(f"UPDATE {VERSION_TABLE} SET version_num = :revision")
        connection.execute(query, {"revision": revision})
    engine.dispose()


def test_the_schema_from_migrations_is_the_one_in_the_code(url: str) -> None:
    def is_of_sqlite(_: object, name: str | None, *others: object) -> bool:
        return name not in OF_POSTGRESQL

    options: dict[str, Any] = {
        "version_table": VERSION_TABLE,
        "include_object": is_of_sqlite,
    }
    engine = open_engine(database_url(url))
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts=options)
        differences = compare_metadata(context, metadata)
    engine.dispose()

    assert differences == []


def test_the_head_revision_is_the_newest_migration(url: str) -> None:
    engine = open_engine(database_url(url))
    with engine.connect() as connection:
        scripts = ScriptDirectory.from_config(alembic_config(connection))
    engine.dispose()
    newest_first = [script.revision for script in scripts.walk_revisions()]

    assert scripts.get_heads() == [HEAD_REVISION]
    # `check_schema` compares revisions as text.
    assert newest_first == sorted(newest_first, reverse=True)
    assert upgrade(url) == HEAD_REVISION


def test_checking_the_schema_does_not_load_alembic() -> None:
    program = f"import sys, {schema.__name__}\nprint(*sys.modules)"
    output = subprocess.check_output([sys.executable, "-c", program], text=True)
    packages = {name.partition(".")[0] for name in output.split()}

    assert "sqlalchemy" in packages
    assert packages.isdisjoint({"alembic", "mako"})


@pytest.mark.parametrize("older", ["0001", "0006"])
def test_an_older_schema_is_refused(url: str, older: str) -> None:
    set_revision(url, older)
    with pytest.raises(SchemaOutdated, match=f"schema {older}, .* run .*upgrade"):
        TaskStore(url)


def test_a_newer_schema_is_accepted(url: str) -> None:
    set_revision(url, "later")
    with TaskStore(url) as store:
        assert store.list() == []


def test_a_store_refuses_a_database_without_tables(tmp_path: Path) -> None:
    with pytest.raises(SchemaOutdated, match="tasks upgrade"):
        TaskStore(f"sqlite:///{tmp_path / 'empty.sqlite3'}")


def test_a_worker_refuses_a_database_without_tables(tmp_path: Path) -> None:
    url = f"workertoolbox+sqlite:///{tmp_path / 'empty.sqlite3'}"
    app = Celery("new", broker="memory://", backend=url, set_as_current=False)
    with pytest.raises(SchemaOutdated, match="tasks upgrade"):
        app.backend.store_result("1", 42, states.SUCCESS)
    app.close()

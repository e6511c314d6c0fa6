"""The revision of the schema, and databases that do not have it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from celery import Celery, states
from sqlalchemy import inspect, text

from cadasta.workertoolbox import results
from cadasta.workertoolbox.results import (
    DatabaseUnavailable,
    InvalidURL,
    SchemaOutdated,
    TaskStore,
    upgrade,
)
from cadasta.workertoolbox.results._database.engine import database_url, open_engine
from cadasta.workertoolbox.results._database.schema import (
    HEAD_REVISION,
    VERSION_TABLE,
)
from cadasta.workertoolbox.results._database.tables import metadata
from cadasta.workertoolbox.results._database.upgrade import alembic_config

#: Imports the module without the package above it, and prints what that loads.
LOADED_MODULES = f"""
import sys
from types import ModuleType

package = ModuleType("cadasta.workertoolbox.results")
package.__path__ = {list(results.__path__)!r}
sys.modules[package.__name__] = package

import cadasta.workertoolbox.results._database.schema

print(*sys.modules)
"""


def test_the_schema_from_migrations_is_the_one_in_the_code(url: str) -> None:
    engine = open_engine(database_url(url))
    with engine.connect() as connection:
        context = MigrationContext.configure(
            connection, opts={"version_table": VERSION_TABLE}
        )
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
    run = [sys.executable, "-c", LOADED_MODULES]
    output = subprocess.run(run, check=True, capture_output=True, text=True).stdout
    packages = {name.partition(".")[0] for name in output.split()}

    assert "sqlalchemy" in packages
    assert packages.isdisjoint({"alembic", "mako"})


@pytest.mark.parametrize("older", ["0001", "0006"])
def test_an_older_schema_is_refused(url: str, older: str) -> None:
    engine = open_engine(database_url(url))
    with engine.begin() as connection:
        connection.execute(text(f"UPDATE {VERSION_TABLE} SET version_num = '{older}'"))
    engine.dispose()
    with pytest.raises(SchemaOutdated, match=f"has only {older}; run .* tasks upgrade"):
        TaskStore(url)


def test_upgrading_again_changes_nothing(url: str) -> None:
    assert upgrade(url) == upgrade(url)


def test_an_upgrade_that_fails_leaves_nothing_behind(tmp_path: Path) -> None:
    database = f"sqlite:///{tmp_path / 'half.sqlite3'}"
    engine = open_engine(database_url(database))
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE workertoolbox_tasks (in_the_way TEXT)"))
    with pytest.raises(DatabaseUnavailable, match="workertoolbox_tasks"):
        upgrade(database)
    tables = inspect(engine).get_table_names()
    with engine.begin() as connection:
        connection.execute(text("DROP TABLE workertoolbox_tasks"))
    engine.dispose()

    assert tables == ["workertoolbox_tasks"]
    assert upgrade(database)


def test_tables_that_celery_made_are_adopted_with_their_rows(tmp_path: Path) -> None:
    database = f"sqlite:///{tmp_path / 'celery.sqlite3'}"
    app = Celery("old", broker="memory://", backend=f"db+{database}")
    app.backend.store_result("1", 42, states.SUCCESS)
    upgrade(database)
    with TaskStore(database) as store:
        task = store.get("1")

    assert (task.status, task.result, task.tracked) == ("SUCCESS", 42, False)


def test_a_database_without_tables_says_how_to_make_them(tmp_path: Path) -> None:
    with pytest.raises(SchemaOutdated, match="tasks upgrade"):
        TaskStore(f"sqlite:///{tmp_path / 'empty.sqlite3'}")


def test_a_worker_on_a_database_without_tables_says_so_too(tmp_path: Path) -> None:
    url = f"workertoolbox+sqlite:///{tmp_path / 'empty.sqlite3'}"
    app = Celery("new", broker="memory://", backend=url, set_as_current=False)
    with pytest.raises(SchemaOutdated, match="tasks upgrade"):
        app.backend.store_result("1", 42, states.SUCCESS)
    app.close()


def test_a_newer_schema_is_no_obstacle(url: str) -> None:
    engine = open_engine(database_url(url))
    with engine.begin() as connection:
        connection.execute(text(f"UPDATE {VERSION_TABLE} SET version_num = 'later'"))
    engine.dispose()
    with TaskStore(url) as store:
        assert store.list() == []


def test_a_file_that_is_no_database_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("no database at all, but long enough" * 10)
    for use in (upgrade, TaskStore):
        with pytest.raises(DatabaseUnavailable, match="not a database"):
            use(f"sqlite:///{tmp_path / 'text'}")


def test_a_folder_that_does_not_exist_is_one_clear_error(tmp_path: Path) -> None:
    with pytest.raises(DatabaseUnavailable, match="missing/results.sqlite3"):
        upgrade(f"sqlite:///{tmp_path}/missing/results.sqlite3")


@pytest.mark.parametrize(
    "url",
    [
        "",
        "redis://u:secret@localhost/0",
        "postgresql+psycopg2:/me:secret@h/x",
        "mysql://u:secret@localhost/0",
        "db+nonsense",
        "disabled://",
        None,
    ],
)
def test_what_is_no_sql_database_is_refused_without_its_password(url: str) -> None:
    with pytest.raises(InvalidURL, match="result_backend") as caught:
        upgrade(url)

    assert "secret" not in str(caught.value)

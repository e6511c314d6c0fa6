"""Upgrades of new, existing and unusable databases."""

from __future__ import annotations

from pathlib import Path

import pytest
from celery import Celery, states
from sqlalchemy import inspect, text

from cadasta.workertoolbox.results import DatabaseUnavailable, TaskStore, upgrade
from cadasta.workertoolbox.results._database.engine import database_url, open_engine


def test_upgrading_again_changes_nothing(url: str) -> None:
    assert upgrade(url) == upgrade(url)


def test_a_failed_upgrade_is_rolled_back(tmp_path: Path) -> None:
    database = f"sqlite:///{tmp_path / 'half.sqlite3'}"
    engine = open_engine(database_url(database))
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE workertoolbox_tasks (conflict TEXT)"))
    with pytest.raises(DatabaseUnavailable, match="workertoolbox_tasks"):
        upgrade(database)
    tables = inspect(engine).get_table_names()
    with engine.begin() as connection:
        connection.execute(text("DROP TABLE workertoolbox_tasks"))
    engine.dispose()

    assert tables == ["workertoolbox_tasks"]
    assert upgrade(database)


def test_tables_that_celery_created_are_adopted_with_their_rows(tmp_path: Path) -> None:
    database = f"sqlite:///{tmp_path / 'celery.sqlite3'}"
    app = Celery("old", broker="memory://", backend=f"db+{database}")
    app.backend.store_result("1", 42, states.SUCCESS)
    upgrade(database)
    with TaskStore(database) as store:
        task = store.get("1")

    assert (task.status, task.result, task.tracked) == ("SUCCESS", 42, False)


def test_a_file_that_is_not_a_database_is_reported(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("not a database at all, but long enough" * 10)
    for use in (upgrade, TaskStore):
        with pytest.raises(DatabaseUnavailable, match="is not a database"):
            use(f"sqlite:///{tmp_path / 'text'}")


def test_a_missing_folder_is_reported(tmp_path: Path) -> None:
    with pytest.raises(DatabaseUnavailable, match="missing/results.sqlite3"):
        upgrade(f"sqlite:///{tmp_path}/missing/results.sqlite3")

"""Upgrades of new, existing and unusable databases."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from alembic import command
from celery import Celery, states
from sqlalchemy import Engine, inspect, text

from cadasta.workertoolbox.results import (
    DatabaseUnavailable,
    TaskStore,
    UpgradeUnfinished,
    upgrade,
)
from cadasta.workertoolbox.results._database import leftovers
from cadasta.workertoolbox.results._database.engine import database_url, open_engine
from cadasta.workertoolbox.results._database.schema import HEAD_REVISION
from cadasta.workertoolbox.results._database.upgrade import alembic_config
from cadasta.workertoolbox.results._history.archiver import archive_batch
from cadasta.workertoolbox.results._history.ended_tasks import ArchiveOptions


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


@pytest.fixture
def old(tmp_path: Path) -> Iterator[Engine]:
    """A database of an earlier release, with a task that ended two hours ago."""
    engine = open_engine(database_url(f"sqlite:///{tmp_path / 'old.sqlite3'}"))
    with engine.begin() as connection:
        command.upgrade(alembic_config(connection), "0007")
        ended_at = datetime.now(UTC).replace(tzinfo=None) - timedelta(hours=2)
        insert = (
            "INSERT INTO celery_taskmeta (task_id, status, date_done) VALUES (?, ?, ?)"
        )
        row = ("1", "SUCCESS", ended_at.isoformat(" "))
        connection.exec_driver_sql(insert, row)
    yield engine
    engine.dispose()


def leftovers_in(engine: Engine) -> set[str]:
    """Return the existing tables and indexes that `tasks upgrade --finish` drops."""
    found = inspect(engine)
    names = {index["name"] for index in found.get_indexes("celery_taskmeta")}
    names |= set(found.get_table_names())
    return {*leftovers.TABLES, *leftovers.INDEXES} & {str(name) for name in names}


def test_a_new_database_has_only_what_this_release_uses(url: str) -> None:
    engine = open_engine(database_url(url))

    assert leftovers_in(engine) == set()
    engine.dispose()


def test_an_upgrade_keeps_tables_of_an_earlier_release_until_it_is_finished(
    old: Engine,
) -> None:
    url = str(old.url)
    upgrade(url)
    kept = leftovers_in(old)
    with pytest.raises(UpgradeUnfinished, match="not in history yet: 1; .* archive"):
        upgrade(url, finish=True)
    refused = leftovers_in(old)
    with old.begin() as connection:
        archive_batch(connection, ArchiveOptions())
    revision = upgrade(url, finish=True)

    assert kept == refused == {*leftovers.TABLES, *leftovers.INDEXES}
    assert leftovers_in(old) == set()
    assert revision == HEAD_REVISION
    assert upgrade(url) == upgrade(url, finish=True) == HEAD_REVISION


def test_tasks_that_wait_for_the_archiver_do_not_block_the_end_of_an_upgrade(
    old: Engine,
) -> None:
    upgrade(str(old.url), finish=True, archive_after_s=3600 * 2)

    assert leftovers_in(old) == set()


def test_an_upgrade_is_not_finished_while_a_monitor_of_an_earlier_release_works(
    old: Engine,
) -> None:
    url = str(old.url)
    upgrade(url)
    with old.begin() as connection:
        archive_batch(connection, ArchiveOptions())
    with old.begin() as connection:
        behind = datetime.now(UTC).replace(tzinfo=None) - timedelta(minutes=2)
        move = "UPDATE workertoolbox_watermark SET seen_at = ?"
        connection.exec_driver_sql(move, (behind.isoformat(" "),))
    with pytest.raises(UpgradeUnfinished, match="a monitor of an earlier release"):
        upgrade(url, finish=True)

    assert leftovers_in(old) == {*leftovers.TABLES, *leftovers.INDEXES}

"""URLs of databases."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from threading import Timer

import pytest
from sqlalchemy.exc import OperationalError

from cadasta.workertoolbox.results import (
    InvalidURL,
    database_url,
    open_engine,
    upgrade,
)


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
def test_an_unsupported_database_is_refused_without_showing_the_password(
    url: str,
) -> None:
    with pytest.raises(InvalidURL, match="result_backend") as caught:
        upgrade(url)

    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("lock", ["IMMEDIATE", "EXCLUSIVE"])
def test_a_new_sqlite_file_is_opened_once_another_process_has_written_it(
    tmp_path: Path, lock: str
) -> None:
    path = tmp_path / "new.sqlite"
    engine = open_engine(database_url(f"sqlite:///{path}"))
    with closing(sqlite3.connect(path, check_same_thread=False)) as other:
        other.execute(f"BEGIN {lock}")
        timer = Timer(0.2, other.commit)
        timer.start()
        with engine.connect() as connection:
            mode = connection.exec_driver_sql("PRAGMA journal_mode").scalar_one()
        timer.join()
    engine.dispose()

    assert mode == "wal"


def test_a_locked_sqlite_file_is_given_up_after_the_timeout_of_its_url(
    tmp_path: Path,
) -> None:
    path = tmp_path / "new.sqlite"
    engine = open_engine(database_url(f"sqlite:///{path}?timeout=0.1"))
    with closing(sqlite3.connect(path)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(OperationalError, match="database is locked"):
            engine.connect()
    engine.dispose()

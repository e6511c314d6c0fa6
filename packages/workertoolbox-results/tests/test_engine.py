"""URLs of databases."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from threading import Timer

import pytest
from sqlalchemy import make_url
from sqlalchemy.exc import OperationalError

from cadasta.workertoolbox.results import (
    DatabaseUnavailable,
    InvalidURL,
    database_url,
    open_engine,
    upgrade,
)
from cadasta.workertoolbox.results._database.engine import shown_url, translate_errors


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


def test_a_password_in_the_query_of_a_url_is_not_shown(tmp_path: Path) -> None:
    # Of SQLite, the query names no password, but a driver option.
    url = f"sqlite:///{tmp_path / 'missing' / 'x.sqlite'}"
    engine = open_engine(database_url(f"{url}?cached_statements=10"))
    with pytest.raises(DatabaseUnavailable) as caught, translate_errors(engine):
        engine.connect()
    shown = shown_url(make_url("postgresql://a:hunter2@db/x?password=hunter2"))

    assert f"database {url} cannot be used" in str(caught.value)
    assert shown == "postgresql://a:***@db/x"


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

"""Which errors of SQLite are outages."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest
from celery import Celery, states
from celery.exceptions import BackendGetMetaError, BackendStoreError
from sqlalchemy import Engine, NullPool, create_engine, text
from sqlalchemy.exc import DBAPIError

from cadasta.workertoolbox.results import DatabaseUnavailable, SchemaOutdated
from cadasta.workertoolbox.results._backend.worker_start import check_database
from cadasta.workertoolbox.results._database.outages import is_outage, one_line
from cadasta.workertoolbox.results.backend import Backend

#: Statements that let the write that follows fail, with the name of its error.
REFUSALS = {
    "SQLITE_READONLY": "PRAGMA query_only = ON",
    "SQLITE_FULL": "PRAGMA max_page_count = 1",
}


def open_file(path: Path, *, timeout_s: float = 5) -> Engine:
    """Return an engine that keeps no connection open."""
    url = f"sqlite:///{path}"
    return create_engine(url, poolclass=NullPool, connect_args={"timeout": timeout_s})


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "any.sqlite3"


@pytest.fixture
def engine(path: Path) -> Engine:
    engine = open_file(path)
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE t (a INTEGER PRIMARY KEY, b BLOB)"))
    return engine


def error_of(engine: Engine, *statements: str) -> DBAPIError:
    """Return the error of the last statement."""
    with pytest.raises(DBAPIError) as caught, engine.connect() as connection:
        for statement in statements:
            connection.execute(text(statement))
    return caught.value


@pytest.mark.parametrize("code", REFUSALS)
def test_a_database_that_refuses_writes_is_an_outage(engine: Engine, code: str) -> None:
    insert = "INSERT INTO t (b) VALUES (zeroblob(100000))"
    error = error_of(engine, REFUSALS[code], insert)

    assert is_outage(error)
    assert code in one_line(error)


def test_a_locked_a_missing_and_a_damaged_database_are_outages(
    engine: Engine, path: Path
) -> None:
    impatient = open_file(path, timeout_s=0)
    with engine.begin() as connection:
        connection.execute(text("INSERT INTO t (b) VALUES ('')"))
        locked = error_of(impatient, "INSERT INTO t (b) VALUES ('')")
    missing = error_of(open_file(path / "no" / "folder"), "SELECT 1")
    other = path.with_name("damaged")
    other.write_bytes(b"damaged" * 1000)
    damaged = error_of(open_file(other), "SELECT * FROM t")

    assert is_outage(locked) and is_outage(missing) and is_outage(damaged)
    assert is_outage(error_of(engine, "SELECT * FROM nothing"))


def test_errors_about_the_data_are_no_outages(engine: Engine) -> None:
    violated = error_of(
        engine, "INSERT INTO t VALUES (1, '')", "INSERT INTO t VALUES (1, '')"
    )
    mismatched = error_of(engine, "INSERT INTO t VALUES ('a', '')")
    too_large = error_of(engine, "INSERT INTO t (b) VALUES (zeroblob(2000000000))")

    assert not is_outage(violated)
    assert not is_outage(mismatched)
    assert not is_outage(too_large)
    assert not is_outage(ValueError("a NUL character"))


def test_an_exhausted_operating_system_is_an_outage() -> None:
    assert is_outage(OSError(24, "Too many open files"))


def test_reading_and_storing_raise_errors_of_ours_that_name_the_reason(
    app: Celery, backend: Backend
) -> None:
    backend.max_retries = 1
    with backend.database.connect() as connection:
        connection.execute(
            text("ALTER TABLE celery_taskmeta RENAME COLUMN status TO s")
        )
    with pytest.raises(DatabaseUnavailable, match="no such column"):
        app.AsyncResult("1").get(timeout=5)
    with pytest.raises(DatabaseUnavailable, match="no such column") as caught:
        _ = app.AsyncResult("1").state
    with pytest.raises(DatabaseUnavailable, match="no column named status") as stored:
        backend.store_result("1", 1, states.SUCCESS)

    assert isinstance(caught.value, BackendGetMetaError)
    assert isinstance(stored.value, BackendStoreError)
    assert vars(stored.value)["state"] == "SUCCESS"
    for error in (caught.value, stored.value):
        assert isinstance(error, SchemaOutdated) and "tasks upgrade" in str(error)
        assert "task_id:1" in repr(error)
        assert repr(pickle.loads(pickle.dumps(error))) == repr(error)


def test_a_worker_logs_at_its_start_that_its_tables_are_of_an_earlier_release(
    backend: Backend, caplog: pytest.LogCaptureFixture
) -> None:
    with backend.database.connect() as connection:
        for view in ("tasks", "live"):
            connection.execute(text(f"DROP VIEW workertoolbox_{view}"))
        connection.execute(text("DROP TABLE workertoolbox_history"))
    check_database(backend.database, is_required=False)

    [line] = caplog.messages
    assert "no such table: workertoolbox_history" in line
    assert "run `celery -A … tasks upgrade`" in line
    with pytest.raises(DatabaseUnavailable, match="tasks upgrade"):
        backend.max_retries = 0
        backend.forget("1")

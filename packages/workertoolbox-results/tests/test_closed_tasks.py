"""How the archiver stores ends of tasks that no worker runs."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from celery.exceptions import ChordError, TaskRevokedError
from sqlalchemy import event, insert, select
from stored_tasks import publish, store_state

from cadasta.workertoolbox.results import TaskStore, open_engine
from cadasta.workertoolbox.results._database.tables import (
    NAME_LENGTH,
    task,
    taskmeta,
)
from cadasta.workertoolbox.results._history import closed_tasks
from cadasta.workertoolbox.results._history.closed_tasks import (
    TASK_COLUMNS,
    encode_chord_error,
    encode_revocation,
    end_of,
    store_ends,
)
from cadasta.workertoolbox.results._history.faulty_rows import FaultyRows
from cadasta.workertoolbox.results.backend import Backend

Row = dict[str, Any]

NOON = datetime(2026, 11, 28, 12, tzinfo=UTC)

#: All columns that an end can have.
WHOLE: Row = {
    **{"status": "REVOKED", "result": b"1", "date_done": datetime(2026, 11, 28, 12)},
    **{"traceback": "Traceback", "name": "export.fetch", "queue": "export"},
    **{"root_id": "r", "parent_id": "p", "group_id": "g", "retries": 2},
    **{"published_at": NOON, "not_run": "not run: a[1] failed"},
    **{"result_bytes": 7, "forgotten": True},
}


def end(id: str, **values: Any) -> Row:
    return {"task_id": id, "status": "REVOKED", **values}


def store_all(store: TaskStore, *rows: Mapping[str, Any]) -> set[str]:
    with store.engine.begin() as connection:
        return store_ends(connection, rows, FaultyRows())


def stored(store: TaskStore) -> Sequence[Row]:
    """Return what is stored, in the order in which it was, without what is empty."""
    query = select(taskmeta).order_by(taskmeta.c.id)
    with store.engine.connect() as connection:
        rows = connection.execute(query).mappings().all()
    return [
        {name: value for name, value in row.items() if value is not None}
        for row in rows
    ]


def test_an_end_is_stored_with_its_columns(store: TaskStore) -> None:
    assert store_all(store, end("1", **WHOLE), end("2")) == {"1", "2"}
    first, second = stored(store)
    assert first.pop("id") and second.pop("id")
    assert first == {"task_id": "1", **WHOLE}
    assert second == {"task_id": "2", "status": "REVOKED"}


def test_an_end_does_not_replace_a_result(store: TaskStore) -> None:
    store_state(store, "2", "STARTED")

    assert store_all(store, *map(end, "123")) == {"1", "3"}
    assert {row["task_id"]: row["status"] for row in stored(store)} == {
        **{"1": "REVOKED", "2": "STARTED", "3": "REVOKED"}
    }


def test_ends_are_stored_by_id_in_batches(
    store: TaskStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(closed_tasks, "_BATCH_SIZE", 2)
    inserts = []

    def note(connection: Any, cursor: Any, statement: str, *_: object) -> None:
        if statement.startswith("INSERT"):
            inserts.append(statement)

    event.listen(store.engine, "before_cursor_execute", note)

    assert store_all(store, *map(end, "52143")) == {*"12345"}
    assert [row["task_id"] for row in stored(store)] == [*"12345"]
    assert len(inserts) == 3


@pytest.mark.parametrize("column", ["name", "queue"])
def test_names_are_cut_to_the_length_of_their_column(
    store: TaskStore, column: str
) -> None:
    long = "x" * NAME_LENGTH + "y"
    store_all(store, end("1", **{column: long}), end("2", **{column: ""}))
    first, second = stored(store)

    assert first[column] == "x" * NAME_LENGTH
    assert second[column] == ""


def test_an_end_that_the_database_refuses_does_not_stop_the_others(
    store: TaskStore, caplog: pytest.LogCaptureFixture
) -> None:
    # A row that was written by hand may have a text that cannot be encoded.
    ends = [end("1"), end("faulty", root_id="\udc80"), end("3")]
    # The engine of an archiver does not escape texts, as that of a reader does.
    engine = open_engine(store.engine.url)
    with engine.begin() as connection:
        assert store_ends(connection, ends, FaultyRows()) == {"1", "3"}
    engine.dispose()

    assert [row["task_id"] for row in stored(store)] == ["1", "3"]
    assert "end of task faulty is left out" in caplog.text


def test_the_end_of_a_task_has_what_its_message_says(store: TaskStore) -> None:
    east = timezone(timedelta(hours=2))
    publish(store, "export", "1", root_id="r", parent_id="p", group="g", retries=2)
    columns = [task.c[name] for name in TASK_COLUMNS]
    with store.engine.connect() as connection:
        row = connection.execute(select(*columns)).one()
    given = end_of(row, "IGNORED", ended_at=NOON.astimezone(east), forgotten=True)

    assert given == {
        **{"task_id": "1", "status": "IGNORED", "forgotten": True},
        **{"date_done": NOON.replace(tzinfo=None), "name": "export.project"},
        **{"queue": "export", "root_id": "r", "parent_id": "p", "group_id": "g"},
        "retries": 2,
    }


@pytest.mark.parametrize(
    ("encode", "kind"),
    [(encode_revocation, TaskRevokedError), (encode_chord_error, ChordError)],
)
def test_celery_raises_the_error_of_an_end(
    backend: Backend, encode: Any, kind: type[Exception]
) -> None:
    encoded = encode("not run: a[1] failed")
    with backend.database.engine.begin() as connection:
        row = end("1", status="FAILURE", result=encoded)
        connection.execute(insert(taskmeta).values(row))

    assert json.loads(encoded) == {
        "exc_type": kind.__name__,
        "exc_message": ["not run: a[1] failed"],
        "exc_module": "celery.exceptions",
    }
    with pytest.raises(kind, match=r"^not run: a\[1\] failed$"):
        backend.app.AsyncResult("1").get(timeout=1)

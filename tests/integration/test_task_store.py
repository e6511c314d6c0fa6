"""`TaskStore` reads what monitors and workers have written, on each database."""

from __future__ import annotations

import pickle
from datetime import UTC, datetime, timedelta
from itertools import permutations
from typing import Any

import pytest
from kombu.message import Message
from sqlalchemy import Engine, create_engine, delete, select, text

from cadasta.workertoolbox.results import TaskStore, upgrade
from cadasta.workertoolbox.results._database.tables import attempt, task
from cadasta.workertoolbox.results._monitor.message import read_task
from cadasta.workertoolbox.results._monitor.quarantine_record import quarantine_record
from cadasta.workertoolbox.results._monitor.upserts import write_batch
from servers.postgresql import PostgreSQL


def message(body: str, **headers: Any) -> Message:
    """Return the message of a task."""
    return Message(
        body=body,
        content_type="application/json",
        content_encoding="utf-8",
        delivery_info={"routing_key": "export"},
        headers={"id": "1", "task": "export.project", "root_id": "1", **headers},
    )


def test_text_that_postgresql_refuses_is_stored_escaped(
    engine: Engine, database_store: TaskStore
) -> None:
    body = r'[["\u0000", "\ud800", NaN, 1e400, -1e400, {"\u0000": "é"}], {}, {}]'
    now = datetime.now(UTC)
    refused_text = message(body, task="export.\0\ud800", origin="\0")
    with engine.begin() as connection:
        write_batch(
            connection,
            [
                read_task(refused_text, seen_at=now),
                quarantine_record(
                    message("\ud800", tag="\0"), reason="\0", seen_at=now
                ),
            ],
        )
    stored = database_store.get("1")

    assert stored.name == r"export.\x00\ud800"
    assert stored.args == [
        r"\x00",
        r"\ud800",
        "NaN",
        "Infinity",
        "-Infinity",
        {r"\x00": "é"},
    ]


def test_the_sender_and_the_headers_of_users_are_in_the_view(
    engine: Engine, database_store: TaskStore
) -> None:
    headers = {"order": {"id": "\0"}, "workertoolbox_service": "billing"}
    messages = [
        message("[[], {}, {}]", origin="gen1@host", **headers),
        message("[[], {}, {}]", id="2", periodic_task_name="nightly"),
    ]
    query = text(
        "SELECT id, origin, service, schedule, headers IS NULL "
        "FROM workertoolbox_tasks ORDER BY id"
    )
    with engine.begin() as connection:
        now = datetime.now(UTC)
        write_batch(connection, [read_task(each, seen_at=now) for each in messages])
        rows = [tuple(row) for row in connection.execute(query)]

    assert rows == [
        ("1", "gen1@host", "billing", None, False),
        ("2", None, None, "nightly", True),
    ]
    assert database_store.get("1").headers == {"order": {"id": r"\x00"}}


@pytest.mark.parametrize("size", [1, 2, 4])
def test_the_messages_of_a_task_give_the_same_rows_in_any_order(
    engine: Engine, database_store: TaskStore, size: int
) -> None:
    now = datetime.now(UTC)
    generate_messages = [
        read_task(
            message(
                f"[[{retries}], {{}}, {{}}]",
                retries=retries,
                replaced_task_nesting=replaced,
                workertoolbox_published_at=f"2026-01-01T00:00:{replaced}{retries}Z",
            ),
            seen_at=now,
        )
        for replaced, retries in ((0, 0), (0, 1), (0, 2), (1, 0))
    ]
    seen = []
    for order in permutations(generate_messages):
        with engine.begin() as connection:
            for table in (task, attempt):
                connection.execute(delete(table))
            for start in range(0, len(order), size):
                write_batch(connection, order[start : start + size])
            rows = sorted(map(tuple, connection.execute(select(attempt))))
        seen.append((database_store.get("1"), rows))

    assert all(each == seen[0] for each in seen)
    known, attempts = seen[0]
    assert (known.args, known.retries) == ([0], 0)
    assert known.scheduled_at == datetime(2026, 1, 1, tzinfo=UTC)
    assert len(attempts) == 4


def test_a_pickled_result_is_null_in_the_view_and_other_results_are_shown(
    engine: Engine, database_store: TaskStore
) -> None:
    with engine.begin() as connection:
        connection.execute(
            text(
                "INSERT INTO celery_taskmeta (task_id, status, result)"
                " VALUES ('1', 'SUCCESS', :pickled), ('2', 'SUCCESS', :json)"
            ),
            {"pickled": pickle.dumps(42), "json": b"42"},
        )

    assert {task.id: task.result for task in database_store.list()} == {
        "1": None,
        "2": 42,
    }


def test_a_task_is_scheduled_before_its_eta_and_queued_after(
    engine: Engine, database_store: TaskStore
) -> None:
    now = datetime.now(UTC)
    with engine.begin() as connection:
        write_batch(
            connection,
            [
                read_task(
                    message(
                        "[[], {}, {}]",
                        id=id,
                        eta=(now + timedelta(seconds=seconds)).isoformat(),
                    ),
                    seen_at=now,
                )
                for id, seconds in (("past", -1), ("ahead", 60))
            ],
        )

    assert {task.id: task.status for task in database_store.list()} == {
        "past": "QUEUED",
        "ahead": "SCHEDULED",
    }


def test_the_view_can_be_read_by_parallel_workers_of_postgresql(
    postgresql: PostgreSQL,
) -> None:
    pytest.importorskip("psycopg2")
    force_parallel = (
        "SET min_parallel_table_scan_size = 0; SET parallel_setup_cost = 0; "
        "SET parallel_tuple_cost = 0"
    )
    insert_expired_tasks = (
        "INSERT INTO celery_taskmeta (id, task_id, status, result) "
        "SELECT n, n, 'SUCCESS', '42' FROM generate_series(1, 10000) n"
    )
    with postgresql.database() as database:
        upgrade(database)
        engine = create_engine(database)
        with engine.begin() as connection:
            connection.execute(text(insert_expired_tasks))
            connection.execute(text(force_parallel))
            total = "SELECT sum(CAST(result AS integer)) FROM workertoolbox_tasks"
            assert connection.execute(text(total)).scalar_one() == 420_000
        engine.dispose()


def test_a_refused_login_is_an_error_that_hides_the_password(
    postgresql: PostgreSQL,
) -> None:
    pytest.importorskip("psycopg2")
    with postgresql.database() as database:
        wrong = create_engine(database).url.set(username="nobody", password="geheim")
        with pytest.raises(ConnectionError, match="nobody") as caught:
            TaskStore(wrong.render_as_string(hide_password=False))

    assert "geheim" not in str(caught.value)

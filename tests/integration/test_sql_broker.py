"""A database as a broker: other processes change it, and connections end."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import pytest
from celery import Celery
from kombu import Consumer
from kombu.transport.sqlalchemy.models import metadata
from sqlalchemy import Engine, NullPool, create_engine, event
from sqlalchemy.exc import OperationalError

from support.queue_contents import SQLAlchemyContents
from support.routing_processes import consume_ids, routing_app
from support.routing_service import consume

pytestmark = [
    pytest.mark.parametrize("queues", ["sqlalchemy"], indirect=True),
    # The models of kombu's SQLAlchemy transport cause this warning.
    pytest.mark.filterwarnings("ignore:The ``noload`` loader"),
]


@contextmanager
def before_first(words: str, act: Callable[[], object]) -> Iterator[None]:
    """Call a function before the first statement with these words is sent."""
    found: list[str] = []

    def watch(_: Any, __: Any, statement: str, *___: Any) -> None:
        if not found and words in statement:
            found.append(statement)
            act()

    event.listen(Engine, "before_cursor_execute", watch)
    try:
        yield
    finally:
        event.remove(Engine, "before_cursor_execute", watch)
    assert found


def end_connections(queues: SQLAlchemyContents) -> None:
    """End all connections to the database, as a restart of the server does."""
    queues.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )


def create_tables(queues: SQLAlchemyContents) -> None:
    """Create kombu's tables, as the first process does."""
    metadata.create_all(create_engine(queues.database, poolclass=NullPool))


def create_queue(queues: SQLAlchemyContents) -> None:
    """Create a queue, as another process does."""
    queues.execute(
        "INSERT INTO kombu_queue SELECT nextval('queue_id_sequence'), 'export'"
    )


def delete_queue(queues: SQLAlchemyContents) -> None:
    """Delete a queue, as another process does."""
    queues.execute("DELETE FROM kombu_queue WHERE name = 'export'")


def add_task(app: Celery) -> str:
    """Publish a task without retries, and return its id."""
    return str(app.send_task("export.note", retry=False).id)


@pytest.mark.parametrize(
    ("words", "act"),
    [("CREATE ", create_tables), ("INSERT INTO kombu_queue", create_queue)],
)
def test_a_task_is_published_while_another_process_creates_the_same_tables(
    queues: SQLAlchemyContents, words: str, act: Callable[[Any], None]
) -> None:
    with routing_app(queues) as app, before_first(words, lambda: act(queues)):
        task_id = add_task(app)

    assert queues.ids("export") == [task_id]


def test_a_task_is_published_again_if_its_queue_is_deleted_meanwhile(
    queues: SQLAlchemyContents,
) -> None:
    with routing_app(queues) as app:
        with before_first("INSERT INTO kombu_message", lambda: delete_queue(queues)):
            task_id = str(app.send_task("export.note").id)

    assert queues.ids("export") == [task_id]
    assert queues.ids("platform.fifo") == [task_id]


def test_a_database_that_stops_after_a_task_was_sent_has_its_copy_too(
    queues: SQLAlchemyContents,
) -> None:
    commits: list[Any] = []
    note = commits.append

    def refuse(_: Any, __: Any, statement: str, *___: Any) -> None:
        if commits:
            raise OperationalError(statement, {}, Exception("refused by the test"))

    with routing_app(queues) as app:
        before = add_task(app)
        event.listen(Engine, "commit", note)
        event.listen(Engine, "before_cursor_execute", refuse)
        try:
            task_id = add_task(app)
        finally:
            event.remove(Engine, "commit", note)
            event.remove(Engine, "before_cursor_execute", refuse)

    assert queues.ids("export") == sorted([before, task_id])
    assert queues.ids("platform.fifo") == sorted([before, task_id])


@pytest.mark.parametrize("words", ["SELECT kombu_queue", "FOR UPDATE", "UPDATE kombu"])
def test_a_poll_whose_connection_ends_can_be_repeated(
    queues: SQLAlchemyContents, words: str
) -> None:
    with routing_app(queues) as app, app.connection_for_read() as connection:
        task_id = add_task(app)
        received: list[Any] = []
        queue = app.amqp.queues["export"]
        with Consumer(connection.default_channel, [queue], on_message=received.append):
            with before_first(words, lambda: end_connections(queues)):
                with pytest.raises(connection.connection_errors):
                    connection.drain_events(timeout=1)
            with suppress(TimeoutError):
                connection.drain_events(timeout=1)

    assert [message.headers["id"] for message in received] == [task_id]


@pytest.mark.parametrize("end", ["requeue", "close"])
def test_a_message_that_cannot_return_to_its_queue_returns_with_the_next_poll(
    queues: SQLAlchemyContents, end: str
) -> None:
    with routing_app(queues) as app:
        ids = sorted([add_task(app), add_task(app)])
        with app.connection_for_read() as connection:
            held = consume(app, connection, "export", 2)
            end_connections(queues)
            if end == "requeue":
                for message in held:
                    message.requeue()

        assert consume_ids(app, "export", 2) == ids
        assert queues.is_empty("export")

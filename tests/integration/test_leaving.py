"""`tasks leave` deletes the monitor queue of a fleet with its bindings."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from amqp.exceptions import NotFound
from celery import Celery
from celery.bin.celery import celery
from click.testing import CliRunner, Result
from kombu import Exchange, Queue, pools

from cadasta.workertoolbox.results import Monitor, TaskStore, upgrade
from cadasta.workertoolbox.routing import track
from support.queue_contents import (
    BROKERS,
    FileSystemContents,
    QueueContents,
    RabbitMQContents,
    RedisContents,
    SQLAlchemyContents,
    SQSContents,
    open_queue_contents,
)

# The transport `sqlalchemy` of kombu uses a loader that SQLAlchemy 2.1 deprecates.
pytestmark = pytest.mark.filterwarnings("ignore:The ``noload`` loader")

MONITOR = "platform.fifo"


@pytest.fixture(params=BROKERS)
def contents(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[QueueContents]:
    """Each broker in turn, without queues."""
    with open_queue_contents(request.param, request, tmp_path) as contents:
        yield contents


@pytest.fixture
def app(contents: QueueContents) -> Iterator[Celery]:
    """A fleet with an exchange of its own, which the toolbox tracks."""
    app = Celery("fleet", broker=contents.access.url, set_as_current=False)
    app.conf.broker_transport_options = contents.access.transport_options
    media = Exchange("media", "topic")
    track(app, [Queue("celery"), Queue("video", media, "media.#")])
    yield app
    pools.reset()
    app.close()


def leave(app: Celery, *options: str, answer: str = "") -> Result:
    words: Any = ["-A", app, "tasks", "leave", *options]
    return CliRunner().invoke(celery, words, input=answer)


def names(contents: QueueContents, queue: str) -> bool:
    """Return whether the broker has the queue or a binding of it."""
    match contents:
        case RabbitMQContents():
            with contents.channel() as channel:
                try:
                    channel.queue_declare(queue, passive=True)
                except NotFound:
                    return False
                return True
        case RedisContents():
            with contents.connected() as client:
                keys = [*client.scan_iter(contents.key("*"))]
                sets = [each for each in keys if client.type(each) == b"set"]
                members = [member for each in sets for member in client.smembers(each)]
                return any(queue.encode() in each for each in [*keys, *members])
        case SQSContents():
            return queue in contents.urls()
        case FileSystemContents():
            tables = contents.folder.parent.rglob("*.exchange")
            is_bound = any(queue in each.read_text("utf-8") for each in tables)
            return is_bound or not contents.is_empty(queue)
        case SQLAlchemyContents():
            statement = "SELECT 1 FROM kombu_queue WHERE name = :queue"
            return bool(contents.execute(statement, queue=queue))
    raise TypeError(contents)


def shares_bindings(contents: QueueContents) -> bool:
    """Return whether services use the bindings that another service has made."""
    return not isinstance(contents, SQSContents | SQLAlchemyContents)


def send_as_old_producer(contents: QueueContents) -> None:
    """Send a task to the fleet's exchange as a service without the toolbox does."""
    if not shares_bindings(contents):
        return
    old = Celery("old", broker=contents.access.url, set_as_current=False)
    old.conf.broker_transport_options = contents.access.transport_options
    old.conf.task_queues = [Queue("video", Exchange("media", "topic"), "media.#")]
    old.send_task("note", queue="video", routing_key="media.video")
    old.close()


def test_the_monitor_queue_and_its_bindings_are_deleted_but_not_unread_copies(
    contents: QueueContents, app: Celery
) -> None:
    app.send_task("note")
    app.send_task("note", queue="video", routing_key="media.video")
    refused = leave(app, "--yes")
    send_as_old_producer(contents)
    aborted = leave(app, "--force", answer="n\n")
    kept = names(contents, MONITOR)
    work_queue = leave(app, "--queue", "video", "--yes", "--force")
    done = leave(app, "--force", answer="y\n")
    again = leave(app, "--yes")

    assert (refused.exit_code, aborted.exit_code) == (1, 1)
    assert "is unbound, so that no more copies arrive, but holds 2" in refused.output
    assert kept
    assert work_queue.exit_code == 2 and "'video' is a work queue" in work_queue.output
    assert done.exit_code == 0, done.output
    assert (
        "queue 'platform.fifo' and its bindings are deleted with 2 unread copies\n"
    ) in done.output
    is_rabbitmq = isinstance(contents, RabbitMQContents)
    assert ("exchange 'task_exchange' stays" in done.output) is is_rabbitmq
    assert again.exit_code == 0, again.output
    assert not names(contents, MONITOR)
    # Without the binding, messages of old producers only go to the work queue.
    assert len(contents.messages("video")) == 1 + shares_bindings(contents)
    assert len(contents.messages("celery")) == 1


@pytest.mark.parametrize("contents", ["rabbitmq"], indirect=True)
def test_a_monitor_reads_what_is_left_without_binding_the_queue(
    contents: QueueContents, app: Celery, tmp_path: Path
) -> None:
    database = f"workertoolbox+sqlite:///{tmp_path}/tasks.sqlite"
    app.conf.update(result_backend=database)
    upgrade(database)
    app.send_task("note", queue="video", routing_key="media.video")
    refused = leave(app, "--yes")
    Monitor(app, until_empty=True).run()
    send_as_old_producer(contents)
    done = leave(app, "--yes")
    with TaskStore(database) as store:
        stored = store.list()

    assert refused.exit_code == 1
    assert done.exit_code == 0, done.output
    assert len(stored) == 1


@pytest.mark.parametrize("contents", ["rabbitmq"], indirect=True)
def test_a_queue_that_a_monitor_consumes_is_not_deleted(
    contents: RabbitMQContents, app: Celery
) -> None:
    app.send_task("note")
    with contents.channel() as channel:
        channel.basic_consume(MONITOR, callback=lambda _: None)
        result = leave(app, "--yes", "--force")

    assert result.exit_code == 1
    assert "a monitor consumes queue 'platform.fifo'; stop it first" in result.output
    assert names(contents, MONITOR)


@pytest.mark.parametrize("contents", ["sqs"], indirect=True)
def test_a_predefined_queue_is_left_to_those_who_manage_it(
    contents: SQSContents, app: Celery
) -> None:
    app.send_task("note")
    urls = {name: {"url": url} for name, url in contents.urls().items()}
    app.conf.broker_transport_options = {
        **contents.access.transport_options,
        "predefined_queues": urls,
    }
    result = leave(app, "--yes", "--force")

    assert result.exit_code == 1
    assert "delete it where it was created" in result.output

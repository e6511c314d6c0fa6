"""What is not acknowledged returns to the queue it was read from, and to no other."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from kombu import Consumer, Message

from support import unrouted
from support.conformance import through
from support.polling import eventually
from support.processes import Process, running
from support.proxy import proxied
from support.queue_contents import (
    NAMES,
    Depot,
    RedisDepot,
    SQLAlchemyDepot,
    SQSDepot,
    opened,
)
from support.services import (
    executions,
    service,
    sufferer,
    take,
    wait_for_executions,
    worker,
)

#: kombu's models, not ours, warn with this SQLAlchemy.
pytestmark = pytest.mark.filterwarnings("ignore:The ``noload`` loader")

MONITOR = "platform.fifo"

#: Options with which Redis and SQS deliver again as soon as they can.
SOON = {"visibility_timeout": 1, "unacked_restore_throttle": 1}


@pytest.fixture
def depot(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Depot]:
    """The broker of the test's parameter, which the test has to itself."""
    with opened(request.param, request, tmp_path) as depot:
        yield depot


def soon(depot: Depot) -> dict[str, object]:
    """Return transport options with which a broker soon delivers again."""
    return dict(SOON) if isinstance(depot, RedisDepot | SQSDepot) else {}


@pytest.mark.parametrize("way", ["requeued", "closed", "killed"])
@pytest.mark.parametrize("depot", NAMES, indirect=True)
def test_a_copy_that_is_not_acknowledged_is_no_work(
    depot: Depot, tmp_path: Path, way: str
) -> None:
    with service(depot, broker_transport_options=soon(depot)) as app:
        ids = sorted(app.send_task("export.note").id for _ in range(5))
        with sufferer(depot, tmp_path, way, 5) as process:
            process.wait_for("holds 5")
            if way == "killed":
                process.kill()
            else:
                process.wait_for("closed")
        # kombu's transport deletes from the database what it reads.
        lost = isinstance(depot, SQLAlchemyDepot) and way == "killed"
        returned = ids if lost else take(app, MONITOR, 5)

        assert depot.ids("export") == ids
        assert returned == ids
        assert depot.ids(MONITOR) == []


@pytest.mark.parametrize("restorer", ["ours", "without the toolbox"])
@pytest.mark.parametrize("depot", ["redis"], indirect=True)
def test_a_worker_that_restores_what_a_killed_monitor_held_makes_no_work(
    depot: RedisDepot, tmp_path: Path, restorer: str
) -> None:
    with service(depot) as app:
        ids = sorted(app.send_task("export.note").id for _ in range(5))
        with sufferer(depot, tmp_path, "killed", 5) as process:
            process.wait_for("holds 5")
            process.kill()
        eventually(lambda: overdue(depot) == 5)
        with (
            worker(depot, tmp_path, "-Q", "msg", broker_transport_options=SOON)
            if restorer == "ours"
            else old_worker(depot, tmp_path)
        ):
            eventually(lambda: depot.ids(MONITOR) == ids)

    assert depot.ids("export") == ids
    assert depot.ids("msg") == []
    assert executions(tmp_path) == []
    assert overdue(depot) == 0


@pytest.mark.parametrize("depot", ["redis"], indirect=True)
def test_what_is_on_its_way_to_a_killed_reader_returns(
    depot: RedisDepot, tmp_path: Path
) -> None:
    with service(depot, broker_transport_options=SOON) as app:
        with sufferer(depot, tmp_path, "killed", 2) as process:
            eventually(lambda: depot.blocked() == 1)
            process.pause()
            ids = sorted(app.send_task("export.note").id for _ in range(2))
            # The server has answered a reader that hears nothing.
            eventually(lambda: len(depot.ids(MONITOR)) == 1)
            process.kill()
        returned = take(app, MONITOR, 2)

    assert returned == depot.ids("export") == ids


@pytest.mark.parametrize("depot", ["redis"], indirect=True)
def test_a_message_that_is_asked_for_again_is_taken_once(depot: RedisDepot) -> None:
    # With `retry_on_timeout`, redis-py sends again what got no answer.
    with service(depot) as app, app.connection_for_read() as connection:
        ids = [app.send_task("export.note").id for _ in range(2)]
        channel: Any = connection.default_channel
        ask = channel._taking([MONITOR], "tag")
        with depot.connected() as client:
            execute: Any = client.execute_command
            taken = [execute(*ask) for _ in range(2)]

    assert taken[0] == taken[1] and ids[0].encode() in taken[0]
    assert depot.ids(MONITOR) == ids[1:]


@pytest.mark.parametrize("depot", ["redis"], indirect=True)
def test_what_is_no_json_is_not_held(depot: RedisDepot) -> None:
    with service(depot) as app, app.connection_for_read() as connection:
        channel: Any = connection.default_channel
        with depot.connected() as client:
            client.lpush(depot.key(MONITOR), "{half a mess")
            execute: Any = client.execute_command
            taken = execute(*channel._taking([MONITOR], "tag"))

            assert b"{half a mess" in taken
            assert client.hlen(depot.key("unacked")) == 0


@pytest.mark.parametrize("depot", ["redis"], indirect=True)
def test_a_reader_that_waits_can_be_closed_when_the_server_is_gone(
    depot: RedisDepot,
) -> None:
    url = urlsplit(depot.access.url)
    with (
        proxied(str(url.hostname), int(url.port or 0)) as proxy,
        service(depot, broker_transport_options=SOON) as app,
    ):
        id = app.send_task("export.note").id
        far = app.connection_for_read(through(depot.access.url, proxy))
        held: list[Message] = []
        for channel, name in ((far.default_channel, MONITOR), (far.channel(), "msg")):
            queue = app.amqp.queues[name]
            Consumer(channel, [queue], on_message=held.append).consume()
        while not held:
            far.drain_events(timeout=10)
        with pytest.raises(TimeoutError):
            far.drain_events(timeout=0.1)
        proxy.refuse()
        proxy.cut()
        # As a worker does.
        far.collect()
        far.close()
        returned = take(app, MONITOR, 1)

    assert [message.headers["id"] for message in held] == returned == [id]


def overdue(depot: RedisDepot) -> int:
    """Return how many messages have been held for longer than `SOON` allows."""
    with depot.connected() as client:
        seconds, _ = client.time()
        latest = seconds - SOON["visibility_timeout"]
        return int(client.zcount(depot.key("unacked_index"), "-inf", latest))


def old_worker(depot: RedisDepot, folder: Path) -> AbstractContextManager[Process]:
    """Run a worker that does without the toolbox."""
    settings = {
        "broker_url": depot.access.url,
        "broker_transport_options": {**depot.access.transport_options, **SOON},
    }
    return running(
        [sys.executable, unrouted.__file__],
        folder=folder,
        environment={unrouted.SETTINGS: json.dumps(settings)},
        name="unrouted",
    )


@pytest.mark.parametrize(
    "depot", [name for name in NAMES if name != "sqlalchemy"], indirect=True
)
def test_a_task_whose_worker_is_killed_runs_again_without_a_second_copy(
    depot: Depot, tmp_path: Path
) -> None:
    options = soon(depot)
    with service(depot, broker_transport_options=options) as app:
        seen = app.send_task("export.hang").id
        with worker(depot, tmp_path, "-c", "2", broker_transport_options=options) as w:
            wait_for_executions(tmp_path, [seen])
            acknowledged = take(app, MONITOR, 1)
            unseen = app.send_task("export.hang").id
            wait_for_executions(tmp_path, [seen, unseen])
            w.kill()
        with worker(depot, tmp_path, "-c", "2", broker_transport_options=options) as w:
            wait_for_executions(tmp_path, 2 * [seen, unseen])
            w.kill()

        assert acknowledged == [seen]
        assert depot.ids(MONITOR) == [unseen]
        assert depot.ids("msg") == depot.ids("celery") == []


@pytest.mark.parametrize(
    "depot", [name for name in NAMES if name != "sqlalchemy"], indirect=True
)
def test_a_copy_outlives_the_acknowledgement_of_its_task(
    depot: Depot, tmp_path: Path
) -> None:
    options = soon(depot)
    with service(depot, broker_transport_options=options) as app:
        ids = sorted(app.send_task("export.note").id for _ in range(5))
        with sufferer(depot, tmp_path, "killed", 5) as monitor:
            monitor.wait_for("holds 5")
            with worker(depot, tmp_path, "-P", "solo"):
                wait_for_executions(tmp_path, ids)
            monitor.kill()
        returned = take(app, MONITOR, 5)

        assert returned == ids
        assert depot.ids("export") == []


@pytest.mark.parametrize("depot", NAMES, indirect=True)
def test_a_worker_that_stops_gives_back_what_it_holds_without_a_second_copy(
    depot: Depot, tmp_path: Path
) -> None:
    with service(depot) as app:
        ids = sorted(app.send_task("export.note", countdown=600).id for _ in range(5))
        with worker(depot, tmp_path, "-P", "solo") as process:
            for id in ids:
                process.wait_for(f"[{id}] received")
            process.stop()

    assert eventually(lambda: depot.ids("export")) == ids
    assert depot.ids(MONITOR) == ids
    assert executions(tmp_path) == []

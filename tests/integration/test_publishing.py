"""Where a task goes on a real broker, and what its caller is told."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from cadasta.workertoolbox.routing import UnknownQueue
from support.conformance import through
from support.proxy import proxied
from support.queue_contents import Depot, RedisDepot, opened
from support.services import service

MONITOR = "platform.fifo"


@pytest.fixture
def depot(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Depot]:
    """The broker of the test's parameter, which the test has to itself."""
    with opened(request.param, request, tmp_path) as depot:
        yield depot


@pytest.mark.parametrize("depot", ["redis"], indirect=True)
def test_a_route_of_the_users_own_is_kept_and_copied(depot: Depot) -> None:
    routes = {"export.slow": "msg", "other.*": {"queue": "export", "priority": 0}}
    with service(depot, task_routes=routes) as app:
        slow, other, plain = (
            app.send_task(name).id
            for name in ("export.slow", "other.task", "export.note")
        )
        named = app.send_task("export.slow", queue="celery").id

    assert depot.ids("msg") == [slow]
    assert depot.ids("export") == sorted([other, plain])
    assert depot.ids("celery") == [named]
    assert depot.ids(MONITOR) == sorted([slow, other, plain, named])


@pytest.mark.parametrize("depot", ["redis"], indirect=True)
def test_a_queue_that_nobody_declared_is_not_made(depot: RedisDepot) -> None:
    routes = {"export.slow": "mgs"}
    with service(depot, task_routes=routes) as app:
        with pytest.raises(UnknownQueue, match="'exprot'.*mean 'export'"):
            app.tasks["export.note"].apply_async(queue="exprot")
        with pytest.raises(UnknownQueue, match="'mgs'.*mean 'msg'"):
            app.send_task("export.slow")
        id = app.send_task("export.note").id

    assert depot.ids("export") == depot.ids(MONITOR) == [id]
    assert depot.ids("exprot") == depot.ids("mgs") == []


@pytest.mark.filterwarnings("ignore:The ``noload`` loader")
@pytest.mark.parametrize("depot", ["redis", "sqlalchemy"], indirect=True)
def test_a_connection_that_ends_as_queues_are_declared_costs_no_task(
    depot: Depot,
) -> None:
    url = urlsplit(depot.access.url)
    with proxied(str(url.hostname), int(url.port or 0)) as proxy:
        proxy.break_off(1, after=1)
        with service(depot, broker_url=through(depot.access.url, proxy)) as app:
            id = app.send_task("export.note").id

    assert depot.ids("export") == depot.ids(MONITOR) == [id]


@pytest.mark.parametrize("depot", ["redis", "sqs"], indirect=True)
def test_a_task_due_after_the_visibility_timeout_is_warned_of_once(
    depot: Depot, caplog: pytest.LogCaptureFixture
) -> None:
    options = {"visibility_timeout": 60}
    told = []
    for _ in range(2):  # each with a connection of its own
        with service(depot, broker_transport_options=options) as app:
            app.send_task("export.note", countdown=50)
            told.append(warnings(caplog))
            for _ in range(2):
                app.send_task("export.note", countdown=70)
            told.append(warnings(caplog))
            caplog.clear()

    assert told[0] == told[2] == []
    for [warning] in (told[1], told[3]):
        assert "export.note" in warning and '"visibility_timeout"' in warning


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Return what the toolbox has warned of."""
    return [
        record.getMessage()
        for record in caplog.records
        if record.levelno >= logging.WARNING and record.name.startswith("cadasta")
    ]

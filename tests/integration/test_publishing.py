"""Routes, undeclared queues and warnings when a task is published."""

from __future__ import annotations

import logging
from urllib.parse import urlsplit

import pytest

from cadasta.workertoolbox.routing import UnknownQueue
from support.proxy import proxied_url, run_proxy
from support.queue_contents import QueueContents, RedisContents
from support.routing_processes import routing_app

MONITOR = "platform.fifo"


@pytest.mark.parametrize("queues", ["redis"], indirect=True)
def test_tasks_on_a_users_own_route_are_copied(queues: QueueContents) -> None:
    routes = {"export.slow": "msg", "other.*": {"queue": "export", "priority": 0}}
    with routing_app(queues, task_routes=routes) as app:
        slow, other, plain = (
            app.send_task(name).id
            for name in ("export.slow", "other.task", "export.note")
        )
        named = app.send_task("export.slow", queue="celery").id

    assert queues.ids("msg") == [slow]
    assert queues.ids("export") == sorted([other, plain])
    assert queues.ids("celery") == [named]
    assert queues.ids(MONITOR) == sorted([slow, other, plain, named])


@pytest.mark.parametrize("queues", ["redis"], indirect=True)
def test_a_queue_that_is_not_declared_is_not_created(queues: RedisContents) -> None:
    with routing_app(queues) as app:
        app.conf.task_routes = {"export.slow": "mgs"}
        with pytest.raises(UnknownQueue, match="'exprot'.*mean 'export'"):
            app.tasks["export.note"].apply_async(queue="exprot")
        with pytest.raises(UnknownQueue, match="'mgs'.*mean 'msg'"):
            app.send_task("export.slow")
        id = app.send_task("export.note").id

    assert queues.ids("export") == queues.ids(MONITOR) == [id]
    assert queues.ids("exprot") == queues.ids("mgs") == []


@pytest.mark.filterwarnings("ignore:The ``noload`` loader")
@pytest.mark.parametrize("queues", ["redis", "sqlalchemy"], indirect=True)
def test_no_task_is_lost_if_the_connection_breaks_while_queues_are_declared(
    queues: QueueContents,
) -> None:
    url = urlsplit(queues.access.url)
    with run_proxy(str(url.hostname), int(url.port or 0)) as proxy:
        proxy.cut_response(1, after_bytes=1)
        with routing_app(
            queues, broker_url=proxied_url(queues.access.url, proxy)
        ) as app:
            id = app.send_task("export.note").id

    assert queues.ids("export") == queues.ids(MONITOR) == [id]


@pytest.mark.parametrize("queues", ["redis", "sqs"], indirect=True)
def test_a_task_due_after_the_visibility_timeout_causes_one_warning(
    queues: QueueContents, caplog: pytest.LogCaptureFixture
) -> None:
    options = {"visibility_timeout": 60}
    logged = []
    for _ in range(2):  # Each app has its own connection.
        with routing_app(queues, broker_transport_options=options) as app:
            app.send_task("export.note", countdown=50)
            logged.append(logged_warnings(caplog))
            for _ in range(2):
                app.send_task("export.note", countdown=70)
            logged.append(logged_warnings(caplog))
            caplog.clear()

    assert logged[0] == logged[2] == []
    for [warning] in (logged[1], logged[3]):
        assert "export.note" in warning and '"visibility_timeout"' in warning


def logged_warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Return the warnings and errors that the toolbox has logged."""
    return [
        record.getMessage()
        for record in caplog.records
        if record.levelno >= logging.WARNING and record.name.startswith("cadasta")
    ]

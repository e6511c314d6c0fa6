"""`tasks check` and `setup_app` on RabbitMQ as operators and older releases left it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from celery import Celery
from kombu import Queue

from cadasta.workertoolbox.conf import setup_app
from cadasta.workertoolbox.results import upgrade
from servers.rabbitmq import ExternalRabbitMQ, RabbitMQ
from support.brokers import result_backend_url
from support.checkups import configured_app, run_check

MONITOR = "platform.fifo"


@pytest.mark.parametrize(
    ("queue_type", "existing"),
    [
        ("", ""),
        ("", "quorum"),
        ("", "classic"),
        ("classic", ""),
        ("classic", "classic"),
        ("quorum", ""),
        ("quorum", "quorum"),
    ],
)
def test_a_virtual_host_whose_queues_are_quorum_queues_passes(
    rabbitmq: RabbitMQ | ExternalRabbitMQ,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    queue_type: str,
    existing: str,
) -> None:
    if not isinstance(rabbitmq, RabbitMQ):
        pytest.skip("needs the management API of a broker that the tests started")
    backend = result_backend_url(f"sqlite:///{tmp_path}/sqlite")
    variables = {"queue_type": queue_type} if queue_type else {}
    with (
        rabbitmq.vhost(default_queue_type="quorum") as url,
        configured_app(
            monkeypatch, broker_url=url, result_backend=backend, **variables
        ) as app,
    ):
        upgrade(backend)
        if existing:
            declare_monitor_queue(app, {"x-queue-type": existing})
        refused = setup_app(app, throw=False)
        checked = run_check(app)

        assert refused == []
        assert list(checked.details("failed")) == ["monitor"]


def test_a_monitor_queue_of_an_older_release_passes(
    declared_app: Callable[[str], Celery],
) -> None:
    app = declared_app("rabbitmq")
    with app.connection_for_write() as connection:
        channel: Any = connection.default_channel
        channel.queue_delete(MONITOR)
    declare_monitor_queue(app, {})
    refused = setup_app(app, throw=False)
    checked = run_check(app)

    assert refused == []
    assert list(checked.details("failed")) == ["monitor"]
    assert f"queue {MONITOR}" in checked.details("ok")


def declare_monitor_queue(app: Celery, arguments: dict[str, Any]) -> None:
    """Declare the monitor queue with these arguments, as another release did."""
    with app.connection_for_write() as connection:
        channel: Any = connection.default_channel
        Queue(MONITOR, channel=channel, queue_arguments=arguments).queue_declare()

from __future__ import annotations

import logging
from typing import Any

import pytest
from celery import Celery
from celery.utils.nodenames import worker_direct

from cadasta.workertoolbox.routing import Routing

#: The tests may run as root, and Celery warns about it.
pytestmark = pytest.mark.filterwarnings(
    "ignore:You're running the worker with superuser privileges"
)


def consumed_queues(*, direct: bool = False, **options: Any) -> list[str]:
    workers = [worker_direct("one@host"), worker_direct("two@host")]
    settings: dict[str, Any] = {"broker_url": "memory://", "worker_direct": direct}
    app = Celery("tests", set_as_current=False)
    app.config_from_object(Routing(["export", "msg", *workers], **settings))
    app.Worker(pool="solo", **options)
    return sorted(app.amqp.queues.consume_from)


def test_a_worker_without_q_leaves_the_monitor_queue_alone() -> None:
    assert consumed_queues() == ["celery", "export", "msg"]


def test_a_worker_with_the_monitor_queue_in_q_warns_and_does_not_consume_it(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.WARNING, "cadasta.workertoolbox.routing"):
        queues = consumed_queues(queues=["export", "platform.fifo"])

    assert queues == ["export"]
    assert "'platform.fifo'" in caplog.text


@pytest.mark.parametrize("selected", [(), ("msg",)])
@pytest.mark.parametrize("host", ["one@host", "three@host"])
def test_a_worker_with_worker_direct_consumes_its_own_queue_too(
    host: str, selected: tuple[str, ...]
) -> None:
    queues = consumed_queues(direct=True, hostname=host, queues=selected)
    others = selected or ("celery", "export", "msg")

    assert queues == sorted([*others, f"{host}.dq2"])


def test_a_worker_of_an_undeclared_queue_stops_with_an_error() -> None:
    with pytest.raises(SystemExit, match="'typo' is not declared.*celery, export, msg"):
        consumed_queues(queues=["export", "typo"])


def test_a_worker_of_a_plain_app_consumes_its_own_queue() -> None:
    app = Celery("plain", broker="memory://", set_as_current=False)
    app.Worker(pool="solo")

    assert list(app.amqp.queues.consume_from) == ["celery"]

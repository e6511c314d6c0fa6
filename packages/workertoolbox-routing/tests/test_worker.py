from __future__ import annotations

import logging
from typing import Any

import pytest
from celery import Celery

from cadasta.workertoolbox.routing import Routing

#: The tests may run as root, which Celery warns of.
pytestmark = pytest.mark.filterwarnings(
    "ignore:You're running the worker with superuser privileges"
)


def consumed(**options: Any) -> list[str]:
    app = Celery("tests", set_as_current=False)
    app.config_from_object(Routing(["export", "msg"], broker_url="memory://"))
    app.Worker(pool="solo", **options)
    return sorted(app.amqp.queues.consume_from)


def test_a_worker_without_q_leaves_the_monitor_queue_alone() -> None:
    assert consumed() == ["celery", "export", "msg"]


def test_a_worker_told_to_consume_the_monitor_queue_says_that_it_will_not(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.WARNING, "cadasta.workertoolbox.routing"):
        queues = consumed(queues=["export", "platform.fifo"])

    assert queues == ["export"]
    assert "'platform.fifo'" in caplog.text


def test_a_worker_of_a_queue_that_does_not_exist_ends_and_says_so() -> None:
    with pytest.raises(SystemExit, match="'typo' is not declared.*celery, export, msg"):
        consumed(queues=["export", "typo"])


def test_a_worker_of_a_plain_app_is_left_as_it_is() -> None:
    app = Celery("plain", broker="memory://", set_as_current=False)
    app.Worker(pool="solo")

    assert list(app.amqp.queues.consume_from) == ["celery"]

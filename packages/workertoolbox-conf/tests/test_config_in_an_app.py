from __future__ import annotations

import pytest
from celery import Celery

from cadasta.workertoolbox.conf import Config


@pytest.fixture
def app() -> Celery:
    app = Celery("export", set_as_current=False)
    app.config_from_object(Config(["export", "msg"]))
    return app


def test_celery_reads_the_settings(app: Celery) -> None:
    assert app.conf.task_track_started is True
    assert app.conf.result_extended is True
    assert app.conf.broker_url == "sqs://"
    assert app.conf.task_default_exchange_type == "topic"
    assert app.conf.accept_content == ["json"]


def test_celery_knows_every_queue_and_its_exchange(app: Celery) -> None:
    assert list(app.amqp.queues) == ["celery", "export", "msg", "platform.fifo"]
    assert {queue.exchange.name for queue in app.amqp.queues.values()} == {
        "task_exchange"
    }


@pytest.mark.parametrize(
    ("task", "queue"),
    [("export.report", "export"), ("msg.send", "msg"), ("tasks.other", "celery")],
)
def test_celery_routes_a_task_by_the_first_part_of_its_name(
    app: Celery, task: str, queue: str
) -> None:
    route = app.amqp.router.route({}, task, args=(), kwargs={})

    assert route["queue"].name == queue


def test_an_app_can_change_a_setting_afterwards(app: Celery) -> None:
    app.conf.task_track_started = False

    assert app.conf.task_track_started is False

from __future__ import annotations

import pytest
from celery import Celery

from cadasta.workertoolbox.conf import Config


@pytest.fixture
def app() -> Celery:
    app = Celery("export", set_as_current=False)
    app.config_from_object(Config(["export", "msg"]))
    return app


def test_celery_takes_the_settings(app: Celery) -> None:
    assert app.conf.task_track_started is True
    assert app.conf.result_extended is True
    assert app.conf.broker_url == "sqs://"
    assert app.conf.task_default_exchange_type == "topic"
    assert app.conf.accept_content == ["json"]


def test_celery_knows_the_queues_and_consumes_them(app: Celery) -> None:
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
    [topology] = route["declare"]
    assert [queue.name for queue in topology.queues] == list(app.amqp.queues)


def test_celery_lets_the_app_change_a_setting_afterwards(app: Celery) -> None:
    app.conf.task_track_started = False

    assert app.conf.task_track_started is False


def test_a_bound_given_for_chords_is_set_beside_annotations_of_ones_own() -> None:
    app = Celery("export", set_as_current=False)
    app.config_from_object(
        Config(
            ["export"],
            CHORD_UNLOCK_MAX_RETRIES=0,
            task_annotations={"celery.chain": {"rate_limit": "1/s"}},
        )
    )

    assert app.tasks["celery.chord_unlock"].max_retries == 0
    assert app.tasks["celery.chain"].rate_limit == "1/s"


def test_chords_wait_without_bound_where_none_is_given(app: Celery) -> None:
    assert app.tasks["celery.chord_unlock"].max_retries is None

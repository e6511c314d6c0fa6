from __future__ import annotations

from celery import Celery

from cadasta.workertoolbox.routing import Routing


def test_every_queue_is_bound_to_the_task_exchange() -> None:
    app = Celery("tests", set_as_current=False)
    app.config_from_object(Routing(["export", "msg"], broker_url="memory://"))
    bindings = {
        name: (queue.exchange.name, queue.exchange.type, queue.routing_key)
        for name, queue in app.amqp.queues.items()
    }

    assert bindings == {
        "celery": ("task_exchange", "topic", "celery"),
        "export": ("task_exchange", "topic", "export"),
        "msg": ("task_exchange", "topic", "msg"),
        "platform.fifo": ("task_exchange", "topic", "#"),
    }


def test_the_monitor_queue_is_a_classic_queue_of_version_2() -> None:
    *work, monitor = Routing(["export"]).task_queues

    assert monitor.queue_arguments == {"x-queue-version": 2}
    assert not any(queue.queue_arguments for queue in work)


def test_with_quorum_queues_the_monitor_queue_is_bound_to_the_delays_too() -> None:
    *work, monitor = Routing(["export"], queue_type="quorum").task_queues

    for queue in (*work, monitor):
        assert queue.queue_arguments == {"x-queue-type": "quorum"}
    assert {(each.exchange.name, each.routing_key) for each in monitor.bindings} == {
        ("task_exchange", "#"),
        ("celery_delayed_27", "#"),
    }

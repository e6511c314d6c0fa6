from __future__ import annotations

import pytest
from celery import Celery

from cadasta.workertoolbox.routing import InvalidSetting, Routing, bindings_of


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
    bound = {(each.exchange.name, each.routing_key) for each in bindings_of(monitor)}

    assert bound == {
        ("task_exchange", "#"),
        ("celery_delayed_27", "#"),
    }


def queue_types(**settings: str) -> dict[str, str | None]:
    queues = Routing(["export"], **settings).task_queues
    return {queue.name: queue.queue_arguments.get("x-queue-type") for queue in queues}


def test_celerys_settings_for_queue_types_are_used() -> None:
    shared = {"celery": "quorum", "export": None, "platform.fifo": "quorum"}
    own = {"celery": None, "export": "quorum", "platform.fifo": None}
    mixed = {"celery": "classic", "export": "quorum", "platform.fifo": "classic"}

    assert queue_types(task_default_queue_type="quorum") == shared
    assert queue_types(task_create_missing_queue_type="quorum") == own
    assert queue_types(queue_type="quorum", task_default_queue_type="classic") == mixed


def test_one_quorum_queue_is_enough_to_bind_the_monitor_queue_to_the_delays() -> None:
    *_, monitor = Routing(
        ["export"], task_create_missing_queue_type="quorum"
    ).task_queues

    assert "celery_delayed_27" in {each.exchange.name for each in monitor.bindings}


@pytest.mark.parametrize(
    "setting",
    [
        "task_default_queue_type",
        "task_create_missing_queue_type",
        "broker_native_delayed_delivery_queue_type",
    ],
)
def test_an_unknown_queue_type_is_refused(setting: str) -> None:
    with pytest.raises(InvalidSetting, match=f"{setting}='quorom' is unknown"):
        Routing(["export"], **{setting: "quorom"})


def test_priorities_are_for_the_queues_of_one_service_alone() -> None:
    app = Celery("tests", set_as_current=False)
    app.config_from_object(
        Routing(["export"], broker_url="memory://", task_queue_max_priority=9)
    )
    arguments = {
        name: (queue.queue_arguments or {}).get("x-max-priority")
        for name, queue in app.amqp.queues.items()
    }

    assert arguments == {"celery": None, "export": 9, "platform.fifo": None}

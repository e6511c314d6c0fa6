"""Transports that emulate exchanges: bindings, copies, and messages that return."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from typing import Any

import pytest
from amqp.exceptions import RecoverableConnectionError
from kombu import Connection, Exchange, binding
from kombu.transport.virtual import BrokerState

from cadasta.workertoolbox.routing._headers import ROUTING_KEY
from cadasta.workertoolbox.routing._task_queue import (
    MonitorQueue,
    TaskQueue,
    task_exchange,
)
from cadasta.workertoolbox.routing.transports import memory

MEDIA = Exchange("media", type="topic")
NEWS = Exchange("broadcast", type="fanout")


@pytest.fixture
def channel() -> Iterator[memory.Channel]:
    class Transport(memory.Transport):
        """A transport whose exchanges no other test knows."""

        global_state = BrokerState()

    with Connection(transport=Transport) as connection:
        channel = connection.channel()
        assert isinstance(channel, memory.Channel)
        yield channel


def tables(channel: memory.Channel) -> dict[str, set[tuple[str, str]]]:
    """Return the bindings of each exchange: keys and queues."""
    return {
        name: {(key, queue) for key, _, queue in exchange["table"]}
        for name, exchange in (channel.state.exchanges or {}).items()
        if exchange["table"]
    }


def test_a_work_queue_is_declared_with_its_arguments_and_all_its_bindings(
    channel: memory.Channel, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[Any] = []
    monkeypatch.setattr(
        channel, "_new_queue", lambda name, **options: made.append((name, options))
    )
    arguments = {"x-max-priority": 9}
    queue = TaskQueue(
        *("video", MEDIA, "media.#"),
        bindings=[binding(task_exchange(), "video")],
        queue_arguments=arguments,
    )
    channel.declare_task_queue(queue)

    assert made == [("video", {"auto_delete": False, "arguments": arguments})]
    assert tables(channel) == {
        "media": {("media.#", "video")},
        "task_exchange": {("video", "video")},
    }
    assert (channel.state.exchanges or {})["media"]["type"] == "topic"
    assert channel.connection.copies == {"media": set(), "task_exchange": set()}


def test_the_monitor_queue_is_bound_to_topic_exchanges_and_noted_for_the_others(
    channel: memory.Channel,
) -> None:
    others = [binding(NEWS, ""), binding(MEDIA, "#")]
    channel.declare_task_queue(
        MonitorQueue("platform.fifo", task_exchange(), "#", bindings=others)
    )

    assert tables(channel) == {
        "media": {("#", "platform.fifo")},
        "task_exchange": {("#", "platform.fifo")},
    }
    assert channel.connection.copies == {
        "broadcast": {"platform.fifo"},
        "media": {"platform.fifo"},
        "task_exchange": {"platform.fifo"},
    }
    assert channel.find_copies("broadcast") == {"platform.fifo"}


def test_an_exchange_without_task_queues_has_no_copies(channel: memory.Channel) -> None:
    assert channel.find_copies("other") is None
    assert channel.find_copies("task_exchange") == set()
    assert channel.find_bindings("task_exchange") == []


def test_bindings_of_all_services_count_except_for_the_task_exchange(
    channel: memory.Channel, monkeypatch: pytest.MonkeyPatch
) -> None:
    table: list[Any] = [("a", None, "elsewhere")]
    monkeypatch.setattr(channel, "get_table", {"media": table}.__getitem__)
    channel.declare_task_queue(TaskQueue("export", task_exchange(), "export"))

    assert channel.find_bindings("media") == table
    assert [each[2] for each in channel.find_bindings("task_exchange")] == ["export"]


def test_a_closed_channel_asks_kombu_to_connect_again(channel: memory.Channel) -> None:
    channel.connection = None

    with pytest.raises(RecoverableConnectionError, match="^the channel is closed$"):
        channel.basic_publish({"body": ""}, "", "export")


def test_a_message_is_published_with_its_exchange_and_key(
    channel: memory.Channel,
) -> None:
    channel.declare_task_queue(TaskQueue("video", MEDIA, "media.#"))
    message = channel.prepare_message("[]", headers={"id": "1"})
    channel.basic_publish(message, "media", "media.audio")
    read = channel._get("video")

    assert read["headers"] == {"id": "1"}
    assert read["properties"]["delivery_info"] == {
        "exchange": "",
        "routing_key": "video",
        ROUTING_KEY: "media.audio",
    }


def pinned(channel: memory.Channel, **info: Any) -> dict[str, Any]:
    """Return the delivery info of a message that was read from `export`."""
    message = {"properties": {"delivery_info": info}}
    found: dict[str, Any] = channel.pin(message, "export")["properties"][
        "delivery_info"
    ]
    return found


@pytest.mark.parametrize(
    ("exchange", "key"),
    [
        ("task_exchange", "export"),
        ("task_exchange", "video"),
        ("", "video"),
        ("media", "media.audio"),
        ("unknown", "export"),
        (None, "export"),
        ("declared", None),
        (["declared"], "export"),
    ],
)
def test_a_message_returns_to_the_queue_that_it_was_read_from(
    channel: memory.Channel, exchange: Any, key: Any
) -> None:
    channel.declare_task_queue(TaskQueue("video", MEDIA, "media.#"))
    Exchange("declared", type="topic")(channel).declare()
    info = pinned(channel, exchange=exchange, routing_key=key, mine=1)

    assert info == {
        **{"exchange": "", "routing_key": "export"},
        **{ROUTING_KEY: key, "mine": 1},
    }


@pytest.mark.parametrize(
    "info",
    [
        {"exchange": "", "routing_key": "export"},
        {"exchange": "declared", "routing_key": "export"},
    ],
)
def test_a_message_of_another_exchange_and_one_that_has_returned_stay(
    channel: memory.Channel, info: dict[str, Any]
) -> None:
    Exchange("declared", type="topic")(channel).declare()

    assert pinned(channel, **info) == info


def envelope(**values: Any) -> str:
    properties = {"delivery_info": {}, "delivery_tag": "forged"}
    return json.dumps({"body": "[]", "properties": properties, **values})


def test_what_is_read_has_a_tag_of_its_own(channel: memory.Channel) -> None:
    read = [channel.read_message(envelope(), "export") for _ in range(2)]
    tags = {message["properties"]["delivery_tag"] for message in read}

    assert len(tags) == 2 and "forged" not in tags
    assert {type(tag) for tag in tags} == {str}
    assert "redelivered" not in read[0]["properties"]["delivery_info"]
    assert read[0]["properties"]["delivery_info"]["routing_key"] == "export"


def test_a_message_that_was_requeued_is_marked(channel: memory.Channel) -> None:
    read = channel.read_message(envelope(redelivered=True), "export")

    assert read["properties"]["delivery_info"]["redelivered"] is True


def test_a_malformed_message_is_read(channel: memory.Channel) -> None:
    read = channel.read_message(b"nothing", "export")

    assert read["properties"]["delivery_info"]["routing_key"] == "export"


def late(seconds: float, zone: tzinfo | None = UTC) -> dict[str, Any]:
    """Return a message with an ETA; without a zone it is in UTC."""
    eta = (datetime.now(UTC) + timedelta(seconds=seconds)).astimezone(zone or UTC)
    text = eta.replace(tzinfo=zone).isoformat()
    return {"headers": {"eta": text, "task": "export.fetch"}}


@pytest.mark.parametrize("zone", [UTC, timezone(timedelta(hours=9)), None])
def test_an_eta_beyond_the_visibility_timeout_is_logged_once(
    channel: memory.Channel, caplog: pytest.LogCaptureFixture, zone: Any
) -> None:
    channel.visibility_timeout = 100
    for seconds in (90, 200.4, 300):
        channel.warn_about_redelivery(late(seconds, zone))
    [record] = caplog.records

    assert record.levelno == logging.WARNING
    assert record.getMessage() == (
        "task export.fetch is due in 200 s, but this broker delivers a message again "
        "after 100 s without an acknowledgement, so the task may run several times; "
        'set broker_transport_options={"visibility_timeout": …} above the longest '
        "countdown"
    )


@pytest.mark.parametrize("message", [{}, {"headers": {}}, {"headers": {"eta": None}}])
def test_a_task_without_an_eta_is_not_logged(
    channel: memory.Channel, caplog: pytest.LogCaptureFixture, message: dict[str, Any]
) -> None:
    channel.visibility_timeout = 1
    channel.warn_about_redelivery(message)

    assert caplog.records == []


def test_without_a_visibility_timeout_no_eta_is_too_late(
    channel: memory.Channel, caplog: pytest.LogCaptureFixture
) -> None:
    channel.warn_about_redelivery(late(1e6))

    assert caplog.records == []


def test_a_forked_process_cannot_use_the_channels_of_its_parent(
    channel: memory.Channel, monkeypatch: pytest.MonkeyPatch
) -> None:
    transport = channel.connection
    abandoned: list[str] = []

    def abandon() -> None:
        abandoned.append("channel")
        raise OSError("closed")

    monkeypatch.setattr(channel, "abandon", abandon)
    channels = transport.abandon()

    assert channel in channels
    assert transport.channels == []
    assert channel.connection is None
    assert abandoned == ["channel"]
    assert transport.abandon() == []


def test_a_transport_begins_without_copies_and_calls_no_error_final() -> None:
    with Connection(transport=memory.Transport) as connection:
        transport: Any = connection.transport

        assert (transport.copies, transport.has_warned) == ({}, False)
        assert transport.is_permanent(OSError()) is False
        assert transport.is_temporary(OSError()) is False

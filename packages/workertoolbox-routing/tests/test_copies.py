"""A task is put once; its copies are retried, and fail alone."""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
from kombu import Connection

from cadasta.workertoolbox.routing import CopyFailed
from cadasta.workertoolbox.routing.transports import _copies, memory
from cadasta.workertoolbox.routing.transports._copies import task_id, with_new_tag

MESSAGE: dict[str, Any] = {
    "body": "[]",
    "headers": {"id": "7a61"},
    "properties": {"delivery_tag": "published", "priority": 5},
}


class UnreliableChannel(memory.Channel):
    """A channel whose broker refuses the first puts into some queues."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.refusals: dict[str, list[Exception]] = {}
        self.tries: Counter[str] = Counter()
        self.put: list[tuple[str, dict[str, Any], dict[str, Any]]] = []

    def _put(self, queue: str, message: dict[str, Any], **kwargs: Any) -> None:
        self.tries[queue] += 1
        if self.refusals.get(queue):
            raise self.refusals[queue].pop(0)
        self.put.append((queue, message, kwargs))


class UnreliableTransport(memory.Transport):
    Channel = UnreliableChannel


@pytest.fixture
def channel(monkeypatch: pytest.MonkeyPatch) -> Iterator[UnreliableChannel]:
    monkeypatch.setattr(_copies, "RETRY_DELAYS_S", (0.001, 0.001))
    with Connection(transport=UnreliableTransport) as connection:
        channel = connection.channel()
        assert isinstance(channel, UnreliableChannel)
        yield channel


def test_a_task_is_put_before_its_copies_with_the_same_options(
    channel: UnreliableChannel,
) -> None:
    channel.put_task(MESSAGE, ["export", "video"], ["platform.fifo", "b"], mine=1)

    assert [queue for queue, _, _ in channel.put] == [
        *("export", "video", "platform.fifo", "b"),
    ]
    assert [options for *_, options in channel.put] == [{"mine": 1}] * 4


def test_each_queue_gets_the_message_with_a_tag_of_its_own(
    channel: UnreliableChannel,
) -> None:
    channel.refusals["b"] = [OSError("away")]
    channel.put_task(MESSAGE, ["export"], ["a", "b"])
    messages = [message for _, message, _ in channel.put]
    tags = {message["properties"].pop("delivery_tag") for message in messages}

    assert len(tags) == 3 and "published" not in tags
    assert messages == [{**MESSAGE, "properties": {"priority": 5}}] * 3
    assert MESSAGE["properties"]["delivery_tag"] == "published"


def test_a_task_that_cannot_be_put_is_put_once_and_not_copied(
    channel: UnreliableChannel,
) -> None:
    channel.refusals["export"] = [OSError("away")]
    with pytest.raises(OSError, match="away"):
        channel.put_task(MESSAGE, ["export"], ["platform.fifo"])

    assert channel.tries == {"export": 1}


def test_a_copy_is_tried_three_times_after_errors_that_may_pass(
    channel: UnreliableChannel, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, _copies.__name__)
    channel.refusals["a"] = [OSError("away")] * 2
    channel.put_task(MESSAGE, [], ["a"])

    assert channel.tries["a"] == 3
    assert [queue for queue, *_ in channel.put] == ["a"]
    assert {record.levelname for record in caplog.records} == {"DEBUG"}
    assert caplog.messages == ["put failed, retrying: OSError('away')"] * 2


@pytest.mark.parametrize(
    ("error", "tries"), [(OSError("away"), 3), (ValueError("too large"), 1)]
)
def test_a_copy_that_fails_is_logged_and_the_others_are_put(
    channel: UnreliableChannel,
    caplog: pytest.LogCaptureFixture,
    error: Exception,
    tries: int,
) -> None:
    channel.refusals["a"] = [error] * 5
    channel.put_task(MESSAGE, ["export"], ["a", "b"])
    [record] = caplog.records

    assert channel.tries == {"export": 1, "a": tries, "b": 1}
    assert record.levelno == logging.ERROR
    assert record.getMessage() == str(CopyFailed("a", "7a61", repr(error)))


def test_an_error_that_the_broker_will_repeat_is_not_retried(
    channel: UnreliableChannel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        channel, "is_transient", lambda error: str(error) != "denied", raising=True
    )
    channel.refusals["a"] = [OSError("away"), OSError("denied"), OSError("away")]
    failure = channel.try_copy("a", MESSAGE)

    assert channel.tries["a"] == 2
    assert failure is not None
    assert str(failure.__cause__) == "denied"


def test_a_failed_copy_can_be_an_error_at_the_caller(
    channel: UnreliableChannel, caplog: pytest.LogCaptureFixture
) -> None:
    channel.copy_failure = "raise"
    channel.refusals["a"] = [ValueError("too large")]
    with pytest.raises(CopyFailed) as caught:
        channel.put_task(MESSAGE, ["export"], ["a"])

    assert caught.value.args == ("a", "7a61", "ValueError('too large')")
    assert isinstance(caught.value.__cause__, ValueError)
    assert caplog.records == []


def test_a_long_error_is_cut_off_in_the_log(
    channel: UnreliableChannel, caplog: pytest.LogCaptureFixture
) -> None:
    channel.report(CopyFailed("a", "7a61", "\n" * 5000))
    [record] = caplog.records

    assert "\n" not in record.getMessage()
    assert len(record.getMessage()) > 1000
    assert record.getMessage().endswith("…")


def test_the_delays_between_tries_are_those_that_are_listed(
    channel: UnreliableChannel, monkeypatch: pytest.MonkeyPatch
) -> None:
    slept: list[float] = []
    monkeypatch.setattr(time, "sleep", slept.append)
    channel.refusals["a"] = [OSError("away")] * 5
    channel.try_copy("a", MESSAGE)

    assert slept == [*_copies.RETRY_DELAYS_S]


@pytest.mark.parametrize("headers", [{}, None, {"id": None}])
def test_a_message_may_lack_an_id(headers: Any) -> None:
    assert task_id({"headers": headers}) == ("None" if headers else "?")
    assert task_id({}) == "?"


def test_a_tag_is_new_each_time() -> None:
    tags = {with_new_tag(MESSAGE)["properties"]["delivery_tag"] for _ in range(3)}

    assert len(tags) == 3

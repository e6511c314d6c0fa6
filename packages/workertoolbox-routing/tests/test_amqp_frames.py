from __future__ import annotations

from struct import pack
from types import SimpleNamespace
from typing import Any

import pytest
from amqp.basic_message import Message
from amqp.spec import Basic

from cadasta.workertoolbox.routing._headers import UNREADABLE
from cadasta.workertoolbox.routing.transports._amqp_frames import tolerant_frame_handler


class Refused(Exception):
    """An error of a consumer of messages."""


class Reader:
    """A client that keeps the messages it receives."""

    def __init__(self) -> None:
        self.received: list[Any] = []
        connection = SimpleNamespace(bytes_recv=0)
        self._read = tolerant_frame_handler(connection, self._receive)

    def _receive(self, channel: int, method: Any, arguments: Any, message: Any) -> None:
        if message.body == b"refused":
            raise Refused
        self.received.append(message)

    def read(self, properties: bytes, body: bytes = b"body") -> None:
        size = pack(">HxxQ", Basic.CLASS_ID, len(body))
        self._read((1, 1, pack(">HH", *Basic.Deliver)))
        self._read((2, 1, size + properties))
        if body:
            self._read((3, 1, body))


def table(name: bytes, value: bytes) -> bytes:
    """Return properties with one header."""
    item = bytes([len(name)]) + name + value
    return pack(">HI", 0x2000, len(item)) + item


def deep(levels: int) -> bytes:
    value = b"V"
    for _ in range(levels):
        value = pack(">cI", b"A", len(value)) + value
    return value


@pytest.mark.parametrize(
    "properties",
    [
        pack(">HB", 0x8000, 1) + b"\xff",
        pack(">HB", 0x4000, 1) + b"\x80",
        table(b"at", pack(">cQ", b"T", 2**62)),
        table(b"at", pack(">cQ", b"T", 2**40)),
        table(b"deep", deep(2000)),
        table(b"long", pack(">cI", b"S", 2**16) + b"\xff" * 2**16 + b"?"),
        pack(">H", 0xA000),
    ],
    ids=["type", "encoding", "time", "year", "deep", "kind", "cut"],
)
@pytest.mark.parametrize("body", [b"body", b""])
def test_a_message_with_unreadable_properties_arrives(
    properties: bytes, body: bytes
) -> None:
    valid: Any = Message("", content_type="application/json")
    reader = Reader()
    reader.read(properties, body)
    reader.read(valid._serialize_properties())

    unreadable, following = reader.received
    assert "content_type" not in unreadable.properties
    assert list(unreadable.properties["application_headers"]) == [UNREADABLE]
    assert bytes(unreadable.body or b"") == body
    assert following.properties == {"content_type": "application/json"}


def test_unreadable_properties_are_kept_in_the_header() -> None:
    reader = Reader()
    reader.read(pack(">HB", 0x8000, 5) + b"\xffjson")

    shown = reader.received[0].properties["application_headers"][UNREADABLE]
    assert "UnicodeDecodeError" in shown["error"]
    assert shown["properties"] == "\\x80\x00\x05\\xffjson"


def test_an_error_of_the_consumer_is_raised() -> None:
    with pytest.raises(Refused):
        Reader().read(table(b"a", b"V"), b"refused")

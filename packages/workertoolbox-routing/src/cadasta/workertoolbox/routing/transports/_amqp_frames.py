"""What AMQP brings and py-amqp cannot read: a message must not end its reader."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from amqp.basic_message import Message
from amqp.method_framing import frame_handler
from amqp.serialization import decode_properties_basic

from cadasta.workertoolbox.routing.transports._unreadable import unreadable

#: A frame: its type, its channel, and what is in it.
Frame = tuple[int, int, Any]

#: The type of a frame with the properties of a message (AMQP 0-9-1, section 4.2.1).
PROPERTIES = 2

#: Bytes before the properties: class, weight, and size of the body.
PREFIX = 12


def reading_every_frame(
    connection: Any, callback: Callable[..., Any]
) -> Callable[[Frame], Any]:
    """Return py-amqp's reader of frames, which gets over unreadable properties.

    RabbitMQ hands out what a client sent, such as a content type that is no UTF-8 or an
    instant after the year 9999. py-amqp raises what it takes for no error of the
    connection, and the message is delivered again to whoever comes next. Here it
    arrives without content type, and with the header `UNREADABLE`.
    """
    read = frame_handler(connection, callback)

    def on_frame(frame: Frame) -> Any:
        try:
            return read(frame)
        except Exception as error:
            kind, channel, buffer = frame
            if kind != PROPERTIES or _is_readable(buffer):
                raise
            # It has not taken the frame, and still waits for one of its kind.
            return read((kind, channel, _readable(buffer, error)))

    return on_frame


def _is_readable(buffer: Any) -> bool:
    try:
        decode_properties_basic(buffer, PREFIX)
    except Exception:
        return False
    return True


def _readable(buffer: Any, error: Exception) -> bytes:
    shown = bytes(buffer[PREFIX:]).decode("ascii", "backslashreplace")
    headers = unreadable(error, properties=shown)
    message: Any = Message("", application_headers=headers)
    return bytes(buffer[:PREFIX]) + bytes(message._serialize_properties())

"""A reader of AMQP frames that survives message properties py-amqp cannot decode."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from amqp.basic_message import Message
from amqp.method_framing import frame_handler
from amqp.serialization import decode_properties_basic

from cadasta.workertoolbox.routing.transports._unreadable import unreadable_headers

#: A frame: its type, its channel and its payload.
Frame = tuple[int, int, Any]

#: Type of a content header frame, which has the properties of a message (AMQP 0-9-1,
#: section 4.2.1).
HEADER_FRAME = 2

#: Bytes before the properties in the payload of such a frame: class, weight and size
#: of the body.
PREFIX_BYTES = 12


def tolerant_frame_handler(
    connection: Any, callback: Callable[..., Any]
) -> Callable[[Frame], Any]:
    """Return py-amqp's frame handler, made tolerant of unreadable properties.

    RabbitMQ delivers what a client sent, for example a content type that is not UTF-8
    or a timestamp after the year 9999. py-amqp then raises an error that is not one of
    its connection errors, so the consumer stops, and RabbitMQ delivers the message to
    the next consumer. With this handler the message arrives without a content type and
    with the header `UNREADABLE`.
    """
    handle = frame_handler(connection, callback)

    def on_frame(frame: Frame) -> Any:
        try:
            return handle(frame)
        except Exception as error:
            kind, channel, payload = frame
            if kind != HEADER_FRAME or _is_readable(payload):
                raise
            # The handler has not taken the frame, and still expects a header frame.
            return handle((kind, channel, _replacement(payload, error)))

    return on_frame


def _is_readable(payload: Any) -> bool:
    try:
        decode_properties_basic(payload, PREFIX_BYTES)
    except Exception:
        return False
    return True


def _replacement(payload: Any, error: Exception) -> bytes:
    """Return a header frame's payload with the unreadable properties as a header."""
    properties = bytes(payload[PREFIX_BYTES:]).decode("ascii", "backslashreplace")
    headers = unreadable_headers(error, properties=properties)
    message: Any = Message("", application_headers=headers)
    return bytes(payload[:PREFIX_BYTES]) + bytes(message._serialize_properties())

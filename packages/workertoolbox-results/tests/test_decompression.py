from __future__ import annotations

import json
import tracemalloc
from typing import Any

import kombu.compression
import pytest
from kombu import Connection

from cadasta.workertoolbox.results._monitor.decompression import (
    decompress,
    keep_compressed,
)
from cadasta.workertoolbox.results._monitor.size_limits import MAX_BODY_BYTES

#: kombu's names of the compression methods that are installed.
METHODS = kombu.compression.encoders()

ALIASES = ("gzip", "zlib", "bzip2", "bzip", "lzma", "xz")


@pytest.mark.parametrize("method", [*METHODS, *ALIASES])
def test_bodies_compressed_by_kombu_are_decompressed(method: str) -> None:
    body = json.dumps([list(range(1000)), {}, {}]).encode()
    packed, _ = kombu.compression.compress(body, method)

    assert decompress(packed, method) == body


@pytest.mark.parametrize("method", METHODS)
def test_the_memory_for_a_decompression_bomb_is_limited(method: str) -> None:
    packed, _ = kombu.compression.compress(bytes(4 * MAX_BODY_BYTES), method)
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match=f"more than {MAX_BODY_BYTES} bytes"):
            decompress(packed, method)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert peak < 3 * MAX_BODY_BYTES


@pytest.mark.parametrize("method", METHODS)
def test_a_body_of_exactly_the_maximum_size_is_decompressed(method: str) -> None:
    packed, _ = kombu.compression.compress(bytes(MAX_BODY_BYTES), method)

    assert decompress(packed, method) == bytes(MAX_BODY_BYTES)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("damage", [lambda body: body[:-3], lambda body: body + b"x"])
def test_incomplete_data_and_trailing_data_are_errors(method: str, damage: Any) -> None:
    packed, _ = kombu.compression.compress(b"[[], {}, {}]", method)
    with pytest.raises(ValueError, match="incomplete"):
        decompress(damage(packed), method)


@pytest.mark.parametrize("method", ["application/x-brotli", "", 7, ["gzip"], {}])
def test_an_unknown_compression_method_is_an_error(method: Any) -> None:
    with pytest.raises(ValueError, match="unknown compression method"):
        decompress(b"x", method)


def test_a_compressed_message_returns_to_its_queue_unchanged() -> None:
    body = "eJyLjo7VUaiujo3VAQAZ9ATd"
    raw = {
        "body": body,
        "content-type": "application/json",
        "content-encoding": "utf-8",
        "headers": {"id": "1", "compression": "application/x-gzip"},
        "properties": {"body_encoding": "base64", "delivery_tag": "1"},
    }
    with Connection("memory://") as connection:
        channel: Any = connection.default_channel
        message_class: Any = keep_compressed(channel.Message)
        message = message_class(raw, channel=channel)

        assert message.serializable() == raw

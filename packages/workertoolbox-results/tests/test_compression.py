from __future__ import annotations

import json
import tracemalloc
from typing import Any

import kombu.compression
import pytest
from kombu import Connection

from cadasta.workertoolbox.results._monitor.decompression import (
    MAX_BODY,
    decompress,
    left_compressed,
)

#: kombu's names of what can be installed here.
METHODS = kombu.compression.encoders()

ALIASES = ("gzip", "zlib", "bzip2", "bzip", "lzma", "xz")


@pytest.mark.parametrize("method", [*METHODS, *ALIASES])
def test_what_kombu_compresses_is_decompressed(method: str) -> None:
    whole = json.dumps([list(range(1000)), {}, {}]).encode()
    packed, _ = kombu.compression.compress(whole, method)

    assert decompress(packed, method) == whole


@pytest.mark.parametrize("method", METHODS)
def test_a_bomb_takes_no_more_memory_than_the_limit_allows(method: str) -> None:
    packed, _ = kombu.compression.compress(bytes(8 * MAX_BODY), method)
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match=f"more than {MAX_BODY} bytes"):
            decompress(packed, method)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert most < 3 * MAX_BODY


@pytest.mark.parametrize("method", METHODS)
def test_what_has_just_the_limit_is_decompressed(method: str) -> None:
    packed, _ = kombu.compression.compress(bytes(MAX_BODY), method)

    assert decompress(packed, method) == bytes(MAX_BODY)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("damage", [lambda body: body[:-3], lambda body: body + b"x"])
def test_half_of_it_or_more_of_it_is_an_error(method: str, damage: Any) -> None:
    packed, _ = kombu.compression.compress(b"[[], {}, {}]", method)
    with pytest.raises(ValueError, match="incomplete"):
        decompress(damage(packed), method)


@pytest.mark.parametrize("method", ["application/x-brotli", "", 7, ["gzip"], {}])
def test_a_method_that_nothing_stops_is_an_error(method: Any) -> None:
    with pytest.raises(ValueError, match="no method"):
        decompress(b"x", method)


def test_a_message_goes_back_to_its_queue_as_it_came() -> None:
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
        kind: Any = left_compressed(channel.Message)
        message = kind(raw, channel=channel)

        assert message.serializable() == raw

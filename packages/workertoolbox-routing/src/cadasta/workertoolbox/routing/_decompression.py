"""Decompression of message bodies with limits on the result.

kombu decompresses a body without a limit: a message of a kilobyte can take gigabytes,
as bytes or as the objects that its JSON becomes.
"""

from __future__ import annotations

import bz2
import lzma
import sys
import zlib
from collections.abc import Callable
from functools import cache
from typing import Any

import kombu.compression
from kombu import Connection
from kombu.message import Message
from kombu.transport import virtual

from cadasta.workertoolbox.routing._size_limits import LZMA_MEMORY_BYTES, MAX_BODY_BYTES
from cadasta.workertoolbox.routing._value_count import has_more_values, max_values

#: The module that kombu uses for zstd: Python's own from 3.14 on, or `backports.zstd`.
_zstd: Any = getattr(kombu.compression, "zstd", None)

#: Incremental decompressors, by the value of the header `compression`.
_DECOMPRESSORS: dict[str, Callable[[], Any]] = {
    **dict.fromkeys(("application/x-gzip", "gzip", "zlib"), zlib.decompressobj),
    **dict.fromkeys(("application/x-bz2", "bzip2", "bzip"), bz2.BZ2Decompressor),
    **dict.fromkeys(
        ("application/x-lzma", "lzma", "xz"),
        lambda: lzma.LZMADecompressor(memlimit=LZMA_MEMORY_BYTES),
    ),
    **dict.fromkeys(
        ("application/zstd", "zstd", "zstandard") if _zstd else (),
        lambda: _zstd.ZstdDecompressor(),
    ),
}


def decompress(body: bytes, method: Any) -> bytes:
    """Return the decompressed body.

    Args:
        method: Value of the header `compression`.

    Raises:
        Exception: An error of the compression library, for invalid data.
        ValueError: The method is not one of kombu's, or cannot be limited; the data is
            incomplete; or the result would be larger than `MAX_BODY_BYTES`, or has more
            values of JSON than its compressed size allows.
    """
    new = _DECOMPRESSORS.get(method) if isinstance(method, str) else None
    if new is None:
        raise ValueError(f"unknown compression method {str(method)[:50]!r}")
    decompressor = new()
    decompressed: bytes = decompressor.decompress(body, MAX_BODY_BYTES + 1)
    if len(decompressed) > MAX_BODY_BYTES:
        raise ValueError(f"the decompressed body has more than {MAX_BODY_BYTES} bytes")
    if not decompressor.eof or decompressor.unused_data:
        raise ValueError("the data is incomplete, or other data follows it")
    if has_more_values(decompressed, limit := max_values(len(body))):
        raise ValueError(
            f"the decompressed body has more than {limit} values, and only {len(body)} "
            "bytes before"
        )
    return decompressed


def limit_decompression(connection: Connection) -> Connection:
    """Make every channel of a connection decompress bodies with the limit."""
    create = connection.channel

    def channel() -> Any:
        created: Any = create()
        created.Message = _bounded(created.Message)
        return created

    connection.channel = channel  # type: ignore[method-assign]
    return connection


@cache
def _bounded(message_class: type[Message]) -> type[Message]:
    """Return a subclass of a message class whose decompression has the limit."""
    is_virtual = issubclass(message_class, virtual.Message)

    class BoundedMessage(message_class):  # type: ignore[valid-type,misc]
        #: kombu does not decompress a message that already has an error.
        errors: Any = ("decompressed below",)
        body: Any

        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            self.errors = []
            try:
                if method := self.headers.get("compression"):
                    self.body = decompress(self.body, method)
                if is_virtual and isinstance(self.body, str):
                    self.body = self.body.encode("utf-8")
            except Exception:
                # kombu passes the error to `on_decode_error`.
                self.errors.append(sys.exc_info())

    return BoundedMessage

"""Decompression of message bodies with a limit on the decompressed size."""

from __future__ import annotations

import bz2
import lzma
import zlib
from collections.abc import Callable
from functools import cache
from typing import Any

import kombu.compression
from kombu.message import Message

from cadasta.workertoolbox.results._monitor.size_limits import (
    LZMA_MEMORY_BYTES,
    MAX_BODY_BYTES,
)

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
            incomplete; or the result would be larger than `MAX_BODY_BYTES`.
    """
    new = _DECOMPRESSORS.get(method) if isinstance(method, str) else None
    if new is None:
        raise ValueError(f"unknown compression method {str(method)[:50]!r}")
    decompressor = new()
    decompressed: bytes = decompressor.decompress(body, MAX_BODY_BYTES + 1)
    if len(decompressed) > MAX_BODY_BYTES:
        raise ValueError(f"the result has more than {MAX_BODY_BYTES} bytes")
    if not decompressor.eof or decompressor.unused_data:
        raise ValueError("the data is incomplete, or other data follows it")
    return decompressed


@cache
def keep_compressed(message_class: type[Message]) -> type[Message]:
    """Return a subclass of a message class that does not decompress bodies.

    kombu decompresses a body when it receives the message, without a limit on its size.
    """

    class CompressedMessage(message_class):  # type: ignore[valid-type,misc]
        #: kombu does not decompress a message that already has an error.
        errors: Any = ("decompressed later, by `decompress`",)

        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            self.errors = []

        def serializable(self) -> dict[str, Any]:
            """Return the message as it was received, to put it back into its queue."""
            # kombu leaves out the header `compression`: it assumes that the body has
            # been decompressed.
            return {**super().serializable(), "headers": dict(self.headers)}

    return CompressedMessage

"""A body that is compressed, without trust in what it grows to."""

from __future__ import annotations

import bz2
import lzma
import zlib
from collections.abc import Callable
from functools import cache
from typing import Any

import kombu.compression
from kombu.message import Message

#: Most bytes of a body that are read, decompressed or not: what RabbitMQ 4 takes by
#: default. As JSON, the worst of that size takes half a gigabyte of memory.
MAX_BODY = 16 * 1024 * 1024

#: Most bytes of memory that liblzma may take, which its input decides: enough for
#: what `xz -9` has made.
LZMA_MEMORY = 80 * 1024 * 1024

#: Where kombu found it: Python's own from 3.14 on, or `backports.zstd`.
_zstd: Any = getattr(kombu.compression, "zstd", None)

#: What decompresses step by step, by the name in the header `compression`.
_DECOMPRESSORS: dict[str, Callable[[], Any]] = {
    **dict.fromkeys(("application/x-gzip", "gzip", "zlib"), zlib.decompressobj),
    **dict.fromkeys(("application/x-bz2", "bzip2", "bzip"), bz2.BZ2Decompressor),
    **dict.fromkeys(
        ("application/x-lzma", "lzma", "xz"),
        lambda: lzma.LZMADecompressor(memlimit=LZMA_MEMORY),
    ),
    **dict.fromkeys(
        ("application/zstd", "zstd", "zstandard") if _zstd else (),
        lambda: _zstd.ZstdDecompressor(),
    ),
}


def decompress(body: bytes, method: Any) -> bytes:
    """Return what was compressed.

    Args:
        method: What the header `compression` says.

    Raises:
        Exception: Whatever the library has, for what it did not compress.
        ValueError: The method is none of kombu's, or none that can be stopped in time;
            it is incomplete; or it would be larger than `MAX_BODY`.
    """
    new = _DECOMPRESSORS.get(method) if isinstance(method, str) else None
    if new is None:
        raise ValueError(f"no method that is known here: {str(method)[:50]!r}")
    one = new()
    whole: bytes = one.decompress(body, MAX_BODY + 1)
    if len(whole) > MAX_BODY:
        raise ValueError(f"it would have more than {MAX_BODY} bytes")
    if not one.eof or one.unused_data:
        raise ValueError("it is incomplete, or something follows")
    return whole


@cache
def left_compressed(kind: type[Message]) -> type[Message]:
    """Return a kind of message whose body stays as it came.

    kombu decompresses a body as soon as it is received, whatever it grows to.
    """

    class LeftCompressed(kind):  # type: ignore[valid-type,misc]
        #: With an error, kombu takes the body as it is.
        errors: Any = ("left to `decompress`",)

        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            self.errors = []

        def serializable(self) -> dict[str, Any]:
            """Return it as it came, for one that goes back to its queue."""
            # kombu leaves out the header, for it takes the body to be decompressed.
            return {**super().serializable(), "headers": dict(self.headers)}

    return LeftCompressed

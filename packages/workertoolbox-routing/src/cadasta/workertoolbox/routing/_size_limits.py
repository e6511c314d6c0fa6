"""Limits on the size of compressed messages, with the same values as the monitor's."""

from __future__ import annotations

#: Maximum size in bytes of a decompressed body: RabbitMQ 4's default limit for a
#: message.
MAX_BODY_BYTES = 16 * 1024 * 1024

#: Number of values that every decompressed body may have: each takes up to 250 bytes of
#: memory, however few bytes it has as JSON.
MAX_VALUES = 250_000

#: Number of values that a body may have for each of its compressed bytes, if that is
#: more. Compression can turn hundreds of values into a byte.
MAX_VALUES_PER_BYTE = 10

#: Maximum memory in bytes that liblzma may use: enough for the output of `xz -9`.
LZMA_MEMORY_BYTES = 80 * 1024 * 1024

"""Limits on the size of messages."""

from __future__ import annotations

#: Maximum size in bytes of a body that is read, before and after decompression:
#: RabbitMQ 4's default limit for a message. A larger message is quarantined.
MAX_BODY_BYTES = 16 * 1024 * 1024

#: Maximum number of values in a body: each takes up to 250 bytes of memory and some
#: microseconds, however few bytes it has as JSON. A message with more is quarantined.
MAX_VALUES = 250_000

#: Maximum number of values for each byte of a body as it was received, and the number
#: that every body may have. Compression can turn hundreds of values into a byte.
MAX_VALUES_PER_BYTE = 10
MIN_VALUES = 10_000

#: Maximum memory in bytes that liblzma may use. How much it needs depends on its input;
#: this is enough for the output of `xz -9`. A body that needs more is quarantined.
LZMA_MEMORY_BYTES = 80 * 1024 * 1024

#: Maximum size in bytes of a body in quarantine: RabbitMQ 3's default limit for a
#: message. PostgreSQL's limit for a statement is a gigabyte, and a byte takes two
#: characters in it. Of a larger body, only the beginning is stored.
MAX_QUARANTINED_BYTES = 128 * 1024 * 1024

#: Maximum length in characters of the reason of a quarantine. The rest is cut off.
MAX_REASON_LENGTH = 500

#: Maximum number of steps that are stored of one message: more than a user can survey,
#: and few enough not to delay other messages. The rest is left out.
MAX_STEPS = 10_000

#: Bytes of a body, as it was received, for each step that is stored of it. Even in a
#: compressed body a step takes as many: its random id has 16 bytes.
MIN_STEP_BYTES = 24

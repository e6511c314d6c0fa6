"""Limits on the size of messages."""

from __future__ import annotations

#: Maximum size in bytes of a body that is read, before and after decompression:
#: RabbitMQ 4's default limit for a message. JSON of that size takes up to half a
#: gigabyte of memory when it is decoded. A message with a larger body is quarantined.
MAX_BODY_BYTES = 16 * 1024 * 1024

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

"""How large a message may be, and what happens to one that is larger."""

from __future__ import annotations

#: Maximum size in bytes of a body that is read, before and after decompression:
#: RabbitMQ 4's default limit for a message. JSON of that size takes up to half a
#: gigabyte of memory when it is decoded. A message with a larger body is quarantined.
MAX_BODY_BYTES = 16 * 1024 * 1024

#: Maximum memory in bytes that liblzma may use, which depends on its input. It is
#: enough for the output of `xz -9`. A body that needs more is quarantined.
LZMA_MEMORY_BYTES = 80 * 1024 * 1024

#: Maximum size in bytes of a body in quarantine: RabbitMQ 3's default limit for a
#: message. PostgreSQL's limit for a statement is a gigabyte, and a byte takes two
#: characters in it. A larger body is cut there.
MAX_QUARANTINED_BYTES = 128 * 1024 * 1024

#: Maximum length in characters of the reason of a quarantine; it is cut there.
MAX_REASON_LENGTH = 500

#: Maximum number of steps that are stored of one message: more than fit on a page, and
#: few enough that a message with many does not delay the others. The rest is left out.
MAX_STEPS = 10_000

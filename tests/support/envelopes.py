"""Messages in the JSON envelopes of kombu's virtual transports, some malformed."""

from __future__ import annotations

import json
import random
import string
import uuid
from base64 import b64encode
from collections.abc import Callable
from typing import Any

from kombu.utils.json import dumps

from support.fuzz_messages import Message
from support.malformed_messages import MALFORMED_TEXTS


def encode_envelope(message: Message) -> bytes:
    """Return a message as kombu encodes it."""
    envelope = {
        "body": b64encode(message.body).decode(),
        "content-encoding": _text(message.content_encoding),
        "content-type": _text(message.content_type),
        "headers": _with_text_keys(message.headers),
        "properties": {
            "body_encoding": "base64",
            "delivery_info": {
                "exchange": "task_exchange",
                "routing_key": message.routing_key,
            },
            "delivery_mode": 2,
            "delivery_tag": str(uuid.UUID(int=message.number)),
            "priority": 0,
        },
    }
    return str(dumps(envelope)).encode()


def _with_text_keys(value: Any) -> Any:
    """Return a value with text as the keys of all dictionaries, as JSON requires."""
    match value:
        case dict():
            return {_text(key): _with_text_keys(item) for key, item in value.items()}
        case list():
            return [_with_text_keys(item) for item in value]
    return value


def _text(value: Any) -> Any:
    return value.decode("latin-1") if isinstance(value, bytes) else value


#: Changes an envelope. Returns it, and whether it certainly cannot be parsed.
Corruption = Callable[[random.Random, bytes], tuple[bytes, bool]]


def truncated(chance: random.Random, raw: bytes) -> tuple[bytes, bool]:
    return raw[: chance.randrange(1, len(raw))], True


def not_an_envelope(chance: random.Random, raw: bytes) -> tuple[bytes, bool]:
    """Return a message of other software.

    Trailing spaces make each of them unique, because equal ones are stored once.
    """
    text = chance.choice([text for text in MALFORMED_TEXTS if text.startswith("{")])
    return f"{text}{' ' * chance.randrange(1, 5000)}".encode(), True


def missing_key(chance: random.Random, raw: bytes) -> tuple[bytes, bool]:
    envelope = json.loads(raw)
    del envelope[chance.choice(["body", "properties"])]
    return json.dumps(envelope).encode(), True


def wrong_type(chance: random.Random, raw: bytes) -> tuple[bytes, bool]:
    envelope = json.loads(raw)
    odd: Any = chance.choice([7, [], [[]], True, 1.5])
    key, part = chance.choice(
        [
            ("body", envelope),
            ("content-type", envelope),
            ("content-encoding", envelope),
            ("headers", envelope),
            ("body_encoding", envelope["properties"]),
            ("delivery_info", envelope["properties"]),
        ]
    )
    part[key] = odd
    return json.dumps(envelope).encode(), True


def wrong_body_encoding(chance: random.Random, raw: bytes) -> tuple[bytes, bool]:
    envelope = json.loads(raw)
    if chance.random() < 0.5:
        envelope["properties"]["body_encoding"] = chance.choice(["hex", "base65"])
    else:
        envelope["body"] += chance.choice(["A", "!", "=A", "ä"])
    return json.dumps(envelope).encode(), True


def misaddressed(chance: random.Random, raw: bytes) -> tuple[bytes, bool]:
    """Change the delivery information to name a work queue and another exchange."""
    envelope = json.loads(raw)
    envelope["properties"]["delivery_info"] = {
        "exchange": chance.choice(["", "celery", None, []]),
        "routing_key": f"{chance.choice(['export', 'unknown'])}.{uuid.uuid4()}",
    }
    envelope["properties"]["delivery_tag"] = chance.choice([None, [], "x", "\ud800"])
    return json.dumps(envelope).encode(), False


def one_byte_changed(chance: random.Random, raw: bytes) -> tuple[bytes, bool]:
    changed = bytearray(raw)
    changed[chance.randrange(len(changed))] = ord(chance.choice(string.printable[:90]))
    return bytes(changed), False


CORRUPTIONS: tuple[Corruption, ...] = (
    truncated,
    not_an_envelope,
    missing_key,
    wrong_type,
    wrong_body_encoding,
    misaddressed,
    one_byte_changed,
)

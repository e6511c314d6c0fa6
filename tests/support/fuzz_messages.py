"""Random task messages, most of them malformed."""

from __future__ import annotations

import json
import pickle
import random
import uuid
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime
from decimal import Decimal
from typing import Any

#: One message in so many is valid, and must be stored exactly.
VALID_EVERY = 10

#: One message in so many is a duplicate of an earlier one.
DUPLICATE_EVERY = 50

#: One message in so many has arguments of a megabyte.
LARGE_EVERY = 400

#: The publication time of every message.
PUBLISHED_AT = "2026-01-02T03:04:05.000006+00:00"

#: Values that are not names. RabbitMQ rejects headers that are NaN or infinite.
INVALID_NAMES: tuple[Any, ...] = (
    7,
    None,
    [],
    {},
    True,
    1.5,
    "",
    b"\xff",
    Decimal("1.5"),
)

#: Values that no header should have.
ODD_VALUES: tuple[Any, ...] = (
    *INVALID_NAMES,
    -1,
    2**62,
    "\0",
    "\ud800",
    "NaN",
    1e300,
    datetime(9999, 12, 31),
    {"a": [{"b": None}]},
    {b"\xff": b"\xfe"},
)


@dataclass(frozen=True, kw_only=True)
class Message:
    """A message for the monitor queue.

    Attributes:
        number: The position of the message; a duplicate has the number of the original.
        stored: Whether its task must be stored; None if either is right.
        kind: The name of the mutation.
    """

    number: int
    body: bytes
    headers: dict[Any, Any] = field(repr=False)
    content_type: Any = "application/json"
    content_encoding: Any = "utf-8"
    stored: bool | None = True
    kind: str = "valid"

    @property
    def routing_key(self) -> str:
        """The routing key, which identifies the message in both tables."""
        return f"fuzz.{self.number}"

    def publish(self, channel: Any, exchange: str) -> None:
        """Publish the message unchanged, which Celery's producer would refuse."""
        prepared = channel.prepare_message(
            self.body,
            content_type=self.content_type,
            content_encoding=self.content_encoding,
            headers=self.headers,
        )
        channel.basic_publish(prepared, exchange=exchange, routing_key=self.routing_key)


def generate_messages(seed: int, count: int) -> Iterator[Message]:
    """Yield messages that depend only on the seed."""
    chance = random.Random(seed)
    sent: list[Message] = []
    for number in range(count):
        if number % DUPLICATE_EVERY == DUPLICATE_EVERY - 1:
            yield chance.choice(sent)
            continue
        message = _valid(chance, number)
        if number % LARGE_EVERY == 1:
            message = _with_args(message, f'"{"x" * 2**20}"', kind="large")
        elif number % VALID_EVERY:
            mutate = chance.choice(MUTATIONS)
            message = replace(mutate(chance, message), kind=mutate.__name__)
        sent.append(message)
        yield message


def _valid(chance: random.Random, number: int) -> Message:
    id = str(uuid.UUID(int=chance.getrandbits(128), version=4))
    args = [_value(chance) for _ in range(chance.randrange(4))]
    kwargs = {f"key {n}": _value(chance) for n in range(chance.randrange(4))}
    embedded = {"callbacks": None, "errbacks": None, "chain": None, "chord": None}
    headers = {
        "lang": "py",
        "id": id,
        "task": chance.choice(["export.echo", "msg.send", "größe.messen"]),
        "root_id": chance.choice([id, "root"]),
        "parent_id": chance.choice([None, "parent"]),
        "group": chance.choice([None, "group"]),
        "retries": chance.randrange(4),
        "eta": chance.choice([None, "2026-02-03T04:05:06+01:00"]),
        "expires": None,
        "origin": "gen1@host",
        "ignore_result": chance.choice([True, False]),
        "workertoolbox_published_at": PUBLISHED_AT,
    }
    body = json.dumps([args, kwargs, embedded], ensure_ascii=chance.random() < 0.5)
    return Message(number=number, body=body.encode(), headers=headers)


def _value(chance: random.Random, depth: int = 0) -> Any:
    kind = chance.randrange(8 if depth < 4 else 6)
    if kind == 6:
        return [_value(chance, depth + 1) for _ in range(chance.randrange(4))]
    if kind == 7:
        return {f"k{n}": _value(chance, depth + 1) for n in range(chance.randrange(4))}
    return chance.choice([None, True, "", "ä 😀 \\ \" '", 2**63, -7, 0.125])


def _with_args(message: Message, args: str, **changes: Any) -> Message:
    body = f"[[{args}], {{}}, {{}}]".encode("utf-8", "surrogatepass")
    return replace(message, body=body, **changes)


def _with_headers(message: Message, stored: bool | None, **headers: Any) -> Message:
    return replace(message, headers={**message.headers, **headers}, stored=stored)


def truncated(chance: random.Random, message: Message) -> Message:
    body = message.body[: chance.randrange(len(message.body))]
    return replace(message, body=body, stored=False)


def flipped_bits(chance: random.Random, message: Message) -> Message:
    body = bytearray(message.body)
    for _ in range(chance.randrange(1, 9)):
        body[chance.randrange(len(body))] ^= 1 << chance.randrange(8)
    return replace(message, body=bytes(body), stored=None)


def random_bytes(chance: random.Random, message: Message) -> Message:
    body = chance.randbytes(chance.randrange(200))
    return replace(message, body=body, stored=None)


def not_a_task_body(chance: random.Random, message: Message) -> Message:
    body = chance.choice(
        [
            "{}",
            "[]",
            "[1, 2, 3]",
            "[{}, [], {}]",
            "[[], {}]",
            "[[], {}, {}, {}]",
            "[[], {}, null]",
            "null",
            '"x"',
            "[[], {1: 2}, {}]",
            "[[], {}, {}] []",
            "[[\0], {}, {}]",
        ]
    )
    return replace(message, body=body.encode(), stored=False)


def protocol_1(chance: random.Random, message: Message) -> Message:
    id, name = message.headers["id"], message.headers["task"]
    body = {"id": id, "task": name, "args": [], "kwargs": {}, "retries": 0}
    return replace(message, body=json.dumps(body).encode(), headers={}, stored=False)


def missing_id_or_name(chance: random.Random, message: Message) -> Message:
    key = chance.choice(["id", "task"])
    headers = {name: one for name, one in message.headers.items() if name != key}
    return replace(message, headers=headers, stored=False)


def without_headers(chance: random.Random, message: Message) -> Message:
    return replace(message, headers={}, stored=False)


def invalid_id_or_name(chance: random.Random, message: Message) -> Message:
    key = chance.choice(["id", "task"])
    return _with_headers(message, False, **{key: chance.choice(INVALID_NAMES)})


def odd_headers(chance: random.Random, message: Message) -> Message:
    keys = [key for key in message.headers if key not in ("id", "task", "retries")]
    chosen = chance.sample([*keys, "replaced_task_nesting", "stamps"], 2)
    return _with_headers(
        message, None, **{key: chance.choice(ODD_VALUES) for key in chosen}
    )


def odd_retries(chance: random.Random, message: Message) -> Message:
    return _with_headers(message, None, retries=chance.choice(ODD_VALUES))


def odd_argument_texts(chance: random.Random, message: Message) -> Message:
    texts = {
        "argsrepr": chance.choice(ODD_VALUES),
        "kwargsrepr": chance.choice(ODD_VALUES),
    }
    shown = chance.choice([texts, chance.choice(ODD_VALUES)])
    return _with_headers(message, None, workertoolbox_shown=shown)


def unknown_headers(chance: random.Random, message: Message) -> Message:
    headers = {chance.choice(["x", "\0", "\ud800", b"\xff"]): chance.choice(ODD_VALUES)}
    return replace(message, headers={**message.headers, **headers})


def unprintable_names(chance: random.Random, message: Message) -> Message:
    odd = chance.choice(["\0", "\ud800", "😀" * 200])
    return _with_headers(message, True, id=f"{odd}{message.number}", task=odd)


def huge_name(chance: random.Random, message: Message) -> Message:
    key = chance.choice(["id", "task", "root_id", "parent_id", "group", "origin"])
    return _with_headers(message, False, **{key: "x" * chance.choice([501, 100_000])})


def huge_header(chance: random.Random, message: Message) -> Message:
    return _with_headers(message, True, baggage="x" * 100_000)


def deep_header(chance: random.Random, message: Message) -> Message:
    deep: Any = None
    for _ in range(chance.choice([90, 200, 400])):
        deep = chance.choice([{"a": deep}, [deep]])
    key = chance.choice(["baggage", "root_id"])
    return _with_headers(message, key == "baggage", **{key: deep})


def unprintable_argument(chance: random.Random, message: Message) -> Message:
    return _with_args(
        message,
        chance.choice([r'"\u0000"', r'"\ud800"', '"\ud800"', r'{"\u0000\udfff": 1}']),
    )


def infinite_numbers(chance: random.Random, message: Message) -> Message:
    return _with_args(message, "NaN, Infinity, -Infinity, 1e400, -1e400, 1e-400")


def huge_number(chance: random.Random, message: Message) -> Message:
    digits, stored = chance.choice([(4000, True), (5000, False), (200_000, False)])
    return _with_args(message, "9" * digits, stored=stored)


def deep_argument(chance: random.Random, message: Message) -> Message:
    levels, stored = chance.choice([(90, True), (300, False), (10_000, False)])
    begin, end = chance.choice(["[]", ('{"a":', "}")])
    return _with_args(message, begin * levels + "1" + end * levels, stored=stored)


def wrong_content_type(chance: random.Random, message: Message) -> Message:
    body, content_type, content_encoding = chance.choice(
        [
            (pickle.dumps(([], {}, {})), "application/x-python-serialize", "binary"),
            (message.body, "application/x-python-serialize", "binary"),
            (b"- []\n- {}\n- {}\n", "application/x-yaml", "utf-8"),
            (b"\x93\x90\x80\x80", "application/x-msgpack", "binary"),
            (message.body, None, "utf-8"),
            (message.body, "application/json; charset=utf-8", "utf-8"),
            (message.body, b"\xff\xfe", "utf-8"),
            (message.body, "\0", "\ud800"),
        ]
    )
    return replace(
        message,
        body=body,
        content_type=content_type,
        content_encoding=content_encoding,
        stored=False,
    )


def wrong_content_encoding(chance: random.Random, message: Message) -> Message:
    encoding = chance.choice(["utf-16", "binary", "klingon", b"\x80", "x" * 255])
    return replace(message, content_encoding=encoding, stored=False)


def compressed(chance: random.Random, message: Message) -> Message:
    intact = zlib.compress(message.body)
    damaged = bytearray(intact)
    damaged[-1] ^= 1
    body, method, stored = chance.choice(
        [
            (intact, "application/x-gzip", True),
            (bytes(damaged), "application/x-gzip", False),
            (message.body, "application/x-gzip", False),
            (zlib.compress(b"["), "zlib", False),
            (intact, "application/x-unknown", False),
            (intact, 7, False),
            (intact, [b"\xff"], False),
        ]
    )
    return replace(_with_headers(message, stored, compression=method), body=body)


def retried(chance: random.Random, message: Message) -> Message:
    id = f"retried {chance.randrange(50)}"
    return _with_headers(message, True, id=id, retries=message.number)


def invalid_time(chance: random.Random, message: Message) -> Message:
    instant = chance.choice(
        [
            "99999-01-01T00:00:00",
            "0000-01-01T00:00:00+00:00",
            "2026-02-30T00:00:00",
            "2026-01-01T25:00:00",
            "1e400",
            "",
            "\0",
            1e300,
            2**62,
            datetime(2026, 1, 1),
        ]
    )
    return _with_headers(message, False, **{chance.choice(_TIMES): instant})


def far_time(chance: random.Random, message: Message) -> Message:
    # In UTC these are before the first year and after the last.
    instant = chance.choice(["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00"])
    return _with_headers(message, True, **{chance.choice(_TIMES): instant})


#: Headers with an instant.
_TIMES = ("eta", "expires", "workertoolbox_published_at")


Mutation = Callable[[random.Random, Message], Message]

MUTATIONS: tuple[Mutation, ...] = (
    truncated,
    flipped_bits,
    random_bytes,
    not_a_task_body,
    protocol_1,
    missing_id_or_name,
    without_headers,
    invalid_id_or_name,
    odd_headers,
    odd_retries,
    odd_argument_texts,
    unknown_headers,
    unprintable_names,
    huge_name,
    huge_header,
    deep_header,
    unprintable_argument,
    infinite_numbers,
    huge_number,
    deep_argument,
    wrong_content_type,
    wrong_content_encoding,
    compressed,
    retried,
    invalid_time,
    far_time,
)

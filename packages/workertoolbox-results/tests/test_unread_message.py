"""Secrets in messages that go to the quarantine."""

from __future__ import annotations

import base64
import json
import pickle
import zlib
from datetime import UTC, datetime
from typing import Any

import pytest
from kombu.message import Message
from messages import message

from cadasta.workertoolbox.results import Redaction
from cadasta.workertoolbox.results._arguments.secret_texts import MASK
from cadasta.workertoolbox.results._monitor.message import read_task
from cadasta.workertoolbox.results._monitor.quarantine_record import quarantine_record
from cadasta.workertoolbox.results._monitor.records import QuarantineRecord

SECRET = "s3cret-value"
NOW = datetime.now(UTC)
BODY = [["ann", SECRET], {"token": SECRET, "note": f"a {SECRET}"}, {"chain": None}]
JSON = json.dumps(BODY).encode()

#: Rules by which the second argument of `export.pay` is secret.
REDACTION = Redaction({"export.pay": [1]})


def quarantined(unread: Message, reason: str = "r", **rules: Any) -> QuarantineRecord:
    redaction = Redaction(**rules) if rules else REDACTION
    return quarantine_record(unread, reason=reason, seen_at=NOW, redaction=redaction)


def envelope(body: bytes, **headers: Any) -> bytes:
    """Return a message in kombu's envelope, as Redis and SQS hold it."""
    return json.dumps(
        {
            "body": base64.b64encode(body).decode(),
            "headers": {"task": "export.pay", **headers},
            "properties": {"body_encoding": "base64"},
        }
    ).encode()


def decoded(record: QuarantineRecord) -> str:
    """Return all that can be read in a record, in base64 too."""
    texts = [
        record.body,
        record.body.replace(b"\0", b""),
        record.reason.encode(),
        json.dumps(record.headers).encode(),
    ]
    for _ in range(3):
        for text in list(texts):
            for part in text.replace(b"\\", b"").split(b'"'):
                try:
                    texts.append(base64.b64decode(part + b"=="))
                except ValueError:
                    continue
    return "\n".join(text.decode("utf-8", "replace") for text in texts)


@pytest.mark.parametrize(
    "unread",
    [
        message(BODY, task="export.pay", id=""),
        message(BODY, task="export.pay", id="x" * 1000),
        message(BODY, task="export.pay", retries="many"),
        message(BODY, task="export.pay", eta="soon"),
        message(BODY[:2], task="export.pay"),
        message(BODY[:1], task="export.pay"),
        message({"task": "export.pay", "args": BODY[0], "kwargs": BODY[1]}),
        message([[], {}, {"callbacks": [{"task": "export.pay", "args": BODY[0]}]}]),
        message(JSON[:-30], task="export.pay"),
        message(JSON[:-30]),
        message(JSON + b"}", task="export.pay"),
        message(json.dumps(BODY).encode("utf-16"), task="export.pay"),
        message(json.dumps(BODY).encode("utf-16")[:-9], task="export.pay"),
        message(json.dumps(BODY).encode("utf-16")[:-9]),
        message(JSON, content_encoding="utf-16", task="export.pay"),
        message(JSON, content_type="application/x-yaml", task="export.pay"),
        message(pickle.dumps(BODY), content_type="application/x-python-serialize"),
        message(b"\x82\xa5token\xacs3cret-value", content_type="application/x-msgpack"),
        message(b"token: |\n  s3cret-value\n", content_type="application/x-yaml"),
        message(zlib.compress(JSON), compression="zlib", task="export.pay", id=7),
        message(JSON, compression="nonsense", task="export.pay"),
        message(base64.b64encode(JSON), task="export.pay"),
        message(envelope(JSON)),
        message(envelope(JSON[:-20]), content_type=None),
        message(envelope(JSON)[:-30], content_type=None),
        message(base64.b64encode(envelope(JSON)), content_type=None),
        message(JSON + b" " * 2**24, task="export.pay"),
        message(b"[" * 5000 + b'{"token": "s3cret-value"}' + b"]" * 5000),
        message(BODY, task="export.pay", argsrepr=repr(BODY[0]), kwargsrepr=repr(BODY)),
        message(JSON[:-9], task="export.pay", argsrepr=repr(BODY[0])),
        message([], authorization=SECRET, stamps={"api_key": [SECRET]}),
        message([], workertoolbox_unreadable={"error": f"password={SECRET}"}),
    ],
)
def test_no_secret_of_an_unreadable_message_is_stored(unread: Message) -> None:
    assert SECRET not in decoded(quarantined(unread))


def test_a_secret_in_the_reason_is_masked() -> None:
    record = quarantined(message(BODY, task="export.pay"), f"{SECRET}, pwd='x'")

    assert record.reason == f"{MASK}, pwd='{MASK}'"


def test_a_redacted_message_can_be_replayed() -> None:
    sent = message(zlib.compress(JSON), compression="zlib", task="export.pay")
    record = quarantined(sent)
    again = message(record.body, **record.headers)

    assert "compression" not in record.headers
    assert read_task(again, seen_at=NOW).kwargs == {"token": MASK, "note": f"a {MASK}"}


@pytest.mark.parametrize(
    "body",
    [
        b'[["a"],  {"b": 1}, {}]',
        b'[["a"], {"b": 1}',
        b"\xff\xfe",
        b"plain text",
        base64.b64encode(b'{"a": "long enough"}'),
        envelope(b'[["a"], {}, {}]'),
        pickle.dumps(["a"]),
    ],
)
def test_a_message_without_secrets_is_stored_unchanged(body: bytes) -> None:
    record = quarantined(message(body))

    assert record.body == body
    assert record.headers["task"] == "export.project"


def test_a_body_that_may_hold_secrets_is_not_stored() -> None:
    record = quarantined(message(JSON, content_type="application/x-yaml"))

    assert record.body == b"<hidden: %d bytes that may contain secrets>" % len(JSON)

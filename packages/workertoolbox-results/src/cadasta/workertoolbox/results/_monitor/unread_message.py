"""Redaction of messages that go to the quarantine.

A message that is not valid may still contain secrets. As much of it as is valid is
redacted by the rules of its task. A body that cannot be understood and may contain
secrets is not stored.
"""

from __future__ import annotations

import json
import re
from base64 import b64decode, b64encode
from binascii import Error as Base64Error
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from cadasta.workertoolbox.results._arguments.known_secrets import KnownSecrets
from cadasta.workertoolbox.results._arguments.redaction import Redaction
from cadasta.workertoolbox.results._arguments.secret_names import is_secret_name
from cadasta.workertoolbox.results._arguments.secret_texts import MASK, mask_text
from cadasta.workertoolbox.results._monitor.decompression import decompress
from cadasta.workertoolbox.results._monitor.size_limits import (
    MAX_BODY_BYTES,
    MAX_VALUES,
)
from cadasta.workertoolbox.results._monitor.value_count import has_more_values

#: Content types of bodies that are text. kombu's transports deliver an envelope that it
#: cannot parse without one.
_TEXT_TYPES = re.compile(r"application/json|text/|None")

#: A body in base64 as such, and in an envelope, which may be incomplete.
_BASE64 = re.compile(rb"[A-Za-z0-9+/]{16,}={0,2}\s*")
_BASE64_IN_ENVELOPE = re.compile(r'("body"\s*:\s*")([A-Za-z0-9+/]{16,}={0,2})')

#: Number of encodings within each other that are looked into.
_MAX_ENCODINGS = 3

#: Number of bytes in which names are looked for at a time, and the longest name.
_CHUNK_BYTES = 2**20
_NAME_BYTES = 256

_NAME = re.compile(rb"[A-Za-z][A-Za-z0-9_-]*")

#: Headers that repeat the arguments.
_REPRS = ("argsrepr", "kwargsrepr")


class UnreadMessage(NamedTuple):
    """The parts of a message that are stored in quarantine.

    Attributes:
        body: The body as it was received, or redacted.
        headers: The headers as JSON. A redacted body is not compressed.
        reason: Why the message is in quarantine.
    """

    body: bytes
    headers: Any
    reason: str


def redact_unread(
    message: UnreadMessage, *, content_type: str, redaction: Redaction
) -> UnreadMessage:
    """Return a message with its secrets masked; without any, it is returned unchanged.

    Args:
        message: A message whose headers are JSON.
        content_type: What the message says that its body is.
        redaction: Rules for hiding arguments.
    """
    headers, hidden = message.headers, list[Any]()
    name = _text_item(headers, "task")
    body = _BodyRedaction(name, redaction, hidden).redact(
        message.body, _text_item(headers, "compression"), content_type
    )
    headers = redaction.masking(name, hidden).mask(headers)
    secrets = KnownSecrets.of(hidden)
    if body is not message.body and isinstance(headers, dict):
        headers = {key: headers[key] for key in headers if key != "compression"}
    if body is None:
        body = f"<hidden: {len(message.body)} bytes that may contain secrets>".encode()
        headers |= {key: MASK for key in _REPRS if key in headers}
    if secrets:
        text = secrets.mask_text(body.decode("utf-8", "surrogateescape"))
        body = text.encode("utf-8", "surrogateescape")
    reason = secrets.mask_text(mask_text(message.reason))
    return UnreadMessage(body, secrets.mask(headers), reason)


class _BodyRedaction:
    """Redaction of one body.

    Args:
        name: Name of the task, as far as the message has one.
        hidden: List to which every masked value is added.
    """

    def __init__(self, name: str, redaction: Redaction, hidden: list[Any]) -> None:
        self._name = name
        self._redaction = redaction
        self._hidden = hidden

    def redact(self, body: bytes, compression: str, content_type: str) -> bytes | None:
        """Return the redacted body, or None if it must not be stored.

        A body without secrets is returned as it is, still compressed.
        """
        plain = body
        if compression:
            try:
                plain = decompress(body, compression)
            except Exception:
                # Each compression library has errors of its own.
                if not _is_text(body):
                    return body
        if len(body) > MAX_BODY_BYTES or not _TEXT_TYPES.match(content_type):
            return None if self._may_have_secrets(plain) else body
        redacted = self._redact_encoded(plain, _MAX_ENCODINGS)
        return body if redacted == plain else redacted

    def _redact_encoded(self, raw: bytes, encodings_left: int) -> bytes | None:
        """Redact JSON, an envelope, base64 of one of these, or other text."""
        if has_more_values(raw, MAX_VALUES):  # They would take much memory.
            return None if self._may_have_secrets(raw) else raw
        try:
            value = json.loads(raw)
            masked = self._redact_value(value, encodings_left)
        except (ValueError, RecursionError):
            pass
        else:
            return raw if masked == value else json.dumps(masked).encode()
        if encodings_left and _BASE64.fullmatch(raw):
            return self._redact_base64(raw, encodings_left - 1)
        if self._redaction.rules_of(self._name).by_position or b"\0" in raw:
            return None if self._may_have_secrets(raw) else raw
        text = raw.decode("utf-8", "surrogateescape")
        masked = self._redact_text(text, encodings_left)
        return masked.encode("utf-8", "surrogateescape")

    def _redact_value(self, value: Any, encodings_left: int) -> Any:
        """Redact decoded JSON: a message's body, or its envelope."""
        masking = self._redaction.masking(self._name, self._hidden)
        match value:
            case {"body": str(body), "headers": dict(headers)}:
                name = _text_item(headers, "task")
                inner = _BodyRedaction(name, self._redaction, self._hidden)
                redacted = inner._redact_encoded(_encoded(body), encodings_left)
                return {**masking.mask(value), "body": _decoded(redacted)}
            case [list(args), dict(kwargs), *rest]:
                shown = self._redaction.redact(
                    self._name, args, kwargs, hidden=self._hidden
                )
                return [*shown, *masking.mask(rest)]
            case [list(args), *rest]:
                shown = self._redaction.redact(
                    self._name, args, {}, hidden=self._hidden
                )
                return [shown[0], *masking.mask(rest)]
        return masking.mask(value)

    def _redact_base64(self, raw: bytes, encodings_left: int) -> bytes | None:
        try:
            decoded = b64decode(raw)
        except Base64Error:
            return raw
        redacted = self._redact_encoded(decoded, encodings_left)
        if redacted is None or redacted == decoded:
            return raw if redacted else None
        return b64encode(redacted)

    def _redact_text(self, text: str, encodings_left: int) -> str:
        """Redact text that is not valid JSON, such as an envelope that is cut off."""
        is_secret = self._redaction.rules_of(self._name).is_secret
        text = mask_text(text, is_secret, hidden=self._hidden)
        if not encodings_left:
            return text

        def redact(found: re.Match[str]) -> str:
            # Of a body that is cut off, the whole groups of four can be decoded.
            groups = found[2][: len(found[2]) // 4 * 4].encode()
            redacted = self._redact_base64(groups, encodings_left - 1)
            return found[0] if redacted == groups else found[1] + _decoded(redacted)

        return _BASE64_IN_ENVELOPE.sub(redact, text)

    def _may_have_secrets(self, raw: bytes) -> bool:
        rules = self._redaction.rules_of(self._name)
        return (
            rules.by_position
            or rules.is_named is not None
            or any(is_secret_name(name.decode()) for name in _names(raw))
        )


def _names(raw: bytes) -> Iterator[bytes]:
    """Yield the words in a body that may be names of keys; UTF-16 has NULs in them."""
    for start in range(0, len(raw), _CHUNK_BYTES):
        chunk = raw[start : start + _CHUNK_BYTES + _NAME_BYTES].replace(b"\0", b"")
        yield from set(_NAME.findall(chunk))


def _is_text(body: bytes) -> bool:
    try:
        body.decode()
    except UnicodeDecodeError:
        return False
    return True


def _text_item(headers: Any, key: str) -> str:
    value = headers.get(key) if isinstance(headers, Mapping) else None
    return value if isinstance(value, str) else ""


def _encoded(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def _decoded(body: bytes | None) -> str:
    return MASK if body is None else body.decode("utf-8", "surrogatepass")

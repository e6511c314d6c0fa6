"""Passwords that are kept as hashes."""

from __future__ import annotations

import hashlib
import hmac
import os
from threading import Lock

from cadasta.workertoolbox.results._errors import ResultsError

#: Minimum number of characters of a password.
MIN_LENGTH = 12

#: Cost of a hash: 16 MiB, and about a fifth of a second (OWASP's password storage
#: cheat sheet).
_COST = {"n": 2**14, "r": 8, "p": 5}

_KEY_SALT = b"workertoolbox: key of the sessions of web pages"


class InvalidPassword(ResultsError, ValueError):
    """A password is missing or too short."""


class Password:
    """A password of which only a hash is kept.

    Args:
        text: The password.

    Attributes:
        key: A key that is derived from it. Another password leads to another key.

    Raises:
        InvalidPassword: The text is too short.
    """

    def __init__(self, text: str) -> None:
        if len(text) < MIN_LENGTH:
            raise InvalidPassword(
                f"the password of the web pages has {len(text)} characters; write at "
                f"least {MIN_LENGTH}, such as the output of `openssl rand -base64 24`"
            )
        self._salt = os.urandom(16)
        self._hash = _hash(text, self._salt)
        self._lock = Lock()
        self.key = _hash(text, _KEY_SALT)

    def matches(self, text: str) -> bool:
        """Return whether a text is the password."""
        # One at a time: each takes 16 MiB, and requests can come in any number.
        with self._lock:
            return hmac.compare_digest(_hash(text, self._salt), self._hash)


def _hash(text: str, salt: bytes) -> bytes:
    data = text.encode("utf-8", "surrogatepass")
    return hashlib.scrypt(data, salt=salt, dklen=32, **_COST)

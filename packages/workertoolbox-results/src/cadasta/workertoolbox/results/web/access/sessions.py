"""Sessions in signed cookies, and the tokens of forms that belong to them."""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
from collections import OrderedDict
from dataclasses import dataclass
from threading import Lock

from itsdangerous import BadData, URLSafeTimedSerializer

#: How the name of the cookie with the session begins.
COOKIE = "workertoolbox_session"

#: Seconds after which a session ends.
AGE_S = 12 * 3600

#: Maximum number of ended sessions that are remembered.
_MAX_ENDED = 10_000

_MASK_BYTES = 32


@dataclass(frozen=True, slots=True)
class Session:
    """A login.

    Attributes:
        id: A random text.
        name: The name of the user; empty if none was asked for.
    """

    id: str
    name: str

    @classmethod
    def begin(cls, name: str) -> Session:
        """Return a new session."""
        return cls(base64.urlsafe_b64encode(os.urandom(18)).decode(), name)


class Sessions:
    """Signs sessions, so that the server need not store them.

    Args:
        key: The key of the signatures. With another one, all sessions end.

    Attributes:
        cookie: The name of the cookie. It depends on the key, because browsers send the
            cookies of all ports of a host to each of them.
    """

    def __init__(self, key: bytes) -> None:
        self._serializer = URLSafeTimedSerializer(
            hmac.digest(key, b"sessions", "sha256"),
            salt=COOKIE,
            signer_kwargs={"digest_method": hashlib.sha256},
        )
        mark = hmac.digest(key, b"cookie", "sha256")[:4].hex()
        self.cookie = f"{COOKIE}_{mark}"
        self._form_key = hmac.digest(key, b"forms", "sha256")
        self._lock = Lock()
        self._ended: OrderedDict[str, None] = OrderedDict()

    def seal(self, session: Session) -> str:
        """Return the value of the cookie of a new session."""
        return str(self._serializer.dumps([session.id, session.name]))

    def open(self, cookie: str | None) -> Session | None:
        """Return the session of a cookie.

        It is None if the cookie is missing, forged, too old or of an ended session.
        """
        try:
            id, name = self._serializer.loads(cookie or "", max_age=AGE_S)
        except (BadData, ValueError, TypeError):
            return None
        with self._lock:
            return None if id in self._ended else Session(id, name)

    def end(self, session: Session) -> None:
        """End a session before its time, in this process.

        Other processes accept a copy of its cookie until it is too old.
        """
        with self._lock:
            self._ended[session.id] = None
            while len(self._ended) > _MAX_ENDED:
                self._ended.popitem(last=False)

    def form_token(self, session: Session) -> str:
        """Return the token of a form: another text each time, for the same session.

        Pages are compressed. A fixed token could be guessed from the length of pages
        that also contain what an attacker wrote (BREACH).
        """
        mask = os.urandom(_MASK_BYTES)
        masked = _xor(mask, self._token(session))
        return base64.urlsafe_b64encode(mask + masked).decode()

    def is_form_token(self, session: Session, token: str) -> bool:
        """Return whether a form belongs to a session."""
        try:
            given = base64.urlsafe_b64decode(token.encode("ascii"))
        except ValueError:
            return False
        mask, masked = given[:_MASK_BYTES], given[_MASK_BYTES:]
        if len(masked) != _MASK_BYTES:
            return False
        return hmac.compare_digest(_xor(mask, masked), self._token(session))

    def _token(self, session: Session) -> bytes:
        text = f"{session.id}\n{session.name}"
        return hmac.digest(self._form_key, text.encode(), "sha256")


def _xor(left: bytes, right: bytes) -> bytes:
    return bytes(a ^ b for a, b in zip(left, right, strict=True))

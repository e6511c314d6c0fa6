"""Masking of secrets in settings, URLs and texts with URLs."""

from __future__ import annotations

import re
from collections.abc import Mapping

from celery.app.defaults import NAMESPACES, flatten
from celery.app.utils import HIDDEN_SETTINGS  # type: ignore[attr-defined]

_MASK = "********"

#: Words that make the name of a setting, an option or a parameter of a URL secret. A
#: name that ends with `_key` is secret too, except for the routing keys of Celery.
_SECRET_WORDS = (
    r"token|secret|passw|passphrase|pwd|credential|signature|"
    r"(access|account|api|private|security)[_-]?key|(?<!routing)[_-]key\b"
)

#: Names of settings and options whose values are masked.
_SECRET_NAME = re.compile(_SECRET_WORDS, re.IGNORECASE)

#: Names that Celery's bug report hides although they are not secrets.
_NOT_SECRET = {"routing_key", *dict(flatten(NAMESPACES))}

#: The beginning of a URL.
_SCHEME = re.compile(r"[\w.+-]+://")

#: Schemes with which a login without `:` is a secret: a password of Redis, or the key
#: of a Sentry DSN.
_LOGIN_IS_SECRET = re.compile(r"\b(rediss?|sentinel|https?)$", re.IGNORECASE)

#: A secret in the query of a URL, or in a list of `name=value` as drivers read them.
_PARAMETER = re.compile(
    rf"((?:^|[?&;\s])(?:[\w.-]*(?:{_SECRET_WORDS})[\w.-]*|sig)\s*=\s*)"
    r"""('[^']*'|"[^"]*"|\{[^}]*\}|[^&;\s]+)""",
    re.IGNORECASE,
)

#: Separator of two URLs in a failover list. A password may contain `;` too.
_NEXT_URL = re.compile(r";(?=[\w.+-]+://)")


def mask_url(text: str) -> str:
    """Return a URL, or several separated by `;`, with every secret masked.

    Secrets are passwords, and parameters with names such as `password` or `sig`. They
    are masked within a longer text as well, and in the `name=value` form of a DSN.
    """
    return ";".join(map(_mask_one, split_urls(text)))


def split_urls(text: str) -> list[str]:
    """Return the URLs of a failover list, which are separated by `;`."""
    return _NEXT_URL.split(text)


def mask_value(name: str, value: object) -> object:
    """Return the value of a setting or an option in the form that may be shown."""
    if value and _SECRET_NAME.search(name):
        return _MASK
    if isinstance(value, Mapping):
        return {key: mask_value(str(key), item) for key, item in value.items()}
    # As in Celery's bug report, for names that Celery does not define.
    if value and HIDDEN_SETTINGS.search(name) and name not in _NOT_SECRET:
        return _MASK
    if isinstance(value, list | tuple):
        return type(value)(mask_value(name, item) for item in value)
    return mask_url(value) if isinstance(value, str) else value


def _mask_one(text: str) -> str:
    if _SCHEME.match(text):
        masked = _mask_login(text)
    else:
        # Within a longer text, a space ends a URL.
        masked = re.sub(r"\S+", lambda word: _mask_login(word[0]), text)
    return _PARAMETER.sub(rf"\1{_MASK}", masked)


def _mask_login(text: str) -> str:
    """Mask what is secret between `://` and the last `@`.

    A user name may contain `@`, and a password `:`, `/`, `@` and spaces.
    """
    scheme, separator, rest = text.partition("://")
    login, at, host = rest.rpartition("@")
    user, colon, _ = login.partition(":")
    if colon:
        login = f"{user}:{_MASK}"
    elif at and _LOGIN_IS_SECRET.search(scheme) and not re.search(r"[/\s]", login):
        login = _MASK
    return f"{scheme}{separator}{login}{at}{host}"

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

#: A name in the query of a URL, or in a list of `name=value` as drivers read them, and
#: a value after it.
_PARAMETER = re.compile(r"(?<![^?&;\s])(?P<name>[\w.-]++)\s*+=\s*+")
_PARAMETER_VALUE = re.compile(r"""'[^']*'|"[^"]*"|\{[^}]*\}|[^&;\s]+""")
_SECRET_PARAMETER = re.compile(rf"{_SECRET_WORDS}|^sig$", re.IGNORECASE)

#: Longest scheme of a URL within a text, in characters.
_MAX_SCHEME = 40

#: A user name and the first character of a password. A port is not a password, and
#: neither is the text after a URL and a colon.
_PASSWORD_BEGINS = re.compile(
    r"""(?!\[)[^\s:/?#'"<>]*+:(?!\d{1,5}(?:[/?#\s,;.)'"\\]|$))(?=\S)"""
)

_WORD_END = re.compile(r"\s")
_QUOTES = re.compile(r"""['"<>]""")

#: A name in JSON, a repr or a header, and a value after it.
_FIELD = re.compile(r"""(?<![\w-])(?P<name>[\w-]++)(?:\\*+["'])?+\s*+[:=]\s*+""")
_FIELD_VALUE = re.compile(
    r"""(?P<quote>\\*+["']).*?(?<!\\)(?:(?P=quote)|$)|\[[^\]]*+\]?|\{[^}]*+\}?"""
    r"""|(?:bearer\s|basic\s)?[^\s,;&}\]"']++""",
    re.IGNORECASE | re.DOTALL,
)
_SECRET_FIELD = re.compile(
    rf"{_SECRET_WORDS}|argsrepr|authorization|bearer|card|cookie|cvc|cvv|iban|jwt|otp|pass|pin"
    "|ssn",
    re.IGNORECASE,
)

#: The body of a task within an envelope, in base64.
_ENCODED_BODY = re.compile(r"""((["'])body\2\s*:\s*["'])[A-Za-z0-9+/=]{8,}""")

#: Separator of two URLs in a failover list. A password may contain `;` too.
_NEXT_URL = re.compile(r";(?=[\w.+-]+://)")


def mask_url(text: str) -> str:
    """Return a URL, or several separated by `;`, with every secret masked.

    Secrets are passwords, and parameters with names such as `password` or `sig`. They
    are masked within a longer text as well, and in the `name=value` form of a DSN.
    """
    return ";".join(map(_mask_one, split_urls(text)))


def mask_fields(text: str) -> str:
    """Return the text of a message with the values of secret fields masked.

    The arguments of a task in an envelope are masked as a whole.
    """
    masked = _ENCODED_BODY.sub(rf"\g<1>{_MASK}", text)
    masked = _mask_values(
        masked, _FIELD, _SECRET_FIELD, _FIELD_VALUE, mask=f'"{_MASK}"'
    )
    return mask_url(masked)


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
        masked = _mask_logins(text)
    return _mask_values(
        masked, _PARAMETER, _SECRET_PARAMETER, _PARAMETER_VALUE, mask=_MASK
    )


def _mask_values(
    text: str,
    names: re.Pattern[str],
    secret: re.Pattern[str],
    values: re.Pattern[str],
    *,
    mask: str,
) -> str:
    """Mask the values after secret names.

    Args:
        names: A name and the sign after it, with the group `name`.
        secret: Found in a secret name.
        values: A value.
        mask: What is written instead of a value.
    """
    pieces: list[str] = []
    position = 0
    for found in names.finditer(text):
        if found.start() < position or not secret.search(found["name"]):
            continue
        if (value := values.match(text, found.end())) is not None:
            pieces += [text[position : found.end()], mask]
            position = value.end()
    return "".join(pieces) + text[position:]


def _mask_logins(text: str) -> str:
    """Mask the logins of the URLs in a longer text."""
    before, *parts = text.split("://")
    masked = [before]
    for part in parts:
        scheme = before[-_MAX_SCHEME:]
        before = part
        end = _login_end(part)
        login = _mask_login(f"{scheme}://{part[:end]}")[len(scheme) + 3 :]
        masked.append(f"{login}{part[end:]}")
    return "://".join(masked)


def _login_end(text: str) -> int:
    """Return where the login and the host end that a text begins with.

    That is the end of the first word with `@`: a password may contain spaces, and `@`.
    """
    word = _WORD_END.search(text)
    end = word.start() if word else len(text)
    if "@" in text[:end] or not _PASSWORD_BEGINS.match(text):
        return end
    line = text.splitlines()[0]
    at = line.find("@")
    if at == -1 or _QUOTES.search(line, 0, at):
        return end
    word = _WORD_END.search(line, at)
    return word.start() if word else len(line)


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

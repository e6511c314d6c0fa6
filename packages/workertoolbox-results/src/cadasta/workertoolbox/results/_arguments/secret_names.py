"""Which names of arguments and keys are secret in every task."""

from __future__ import annotations

import re
from functools import lru_cache

#: Words that make a name secret if the name ends with them, however it is written:
#: `api_key`, `x-api-key`, `apiKey` and `API_KEY_2` all end with `api key`.
SECRET_WORDS = (
    "access key",
    "access tokens",
    "account key",
    "account number",
    "api key",
    "api tokens",
    "apikey",
    "auth",
    "auth key",
    "auth tokens",
    "authorization",
    "bank account",
    "bearer",
    "card no",
    "card number",
    "client key",
    "cookie",
    "credential",
    "credit card",
    "cvc",
    "cvv",
    "encryption key",
    "iban",
    "jwt",
    "license key",
    "master key",
    "mfa code",
    "mnemonic",
    "otp",
    "otp code",
    "pass",
    "passcode",
    "passphrase",
    "passwd",
    "password",
    "pin code",
    "private key",
    "psk",
    "pw",
    "pwd",
    "refresh tokens",
    "secret",
    "secret key",
    "security answer",
    "security code",
    "session id",
    "session key",
    "sessionid",
    "shared key",
    "signing key",
    "social security number",
    "ssh key",
    "ssn",
    "storage key",
    "subscription key",
    "token",
    "verification code",
)

#: Words after which a secret word still counts, as in `password_confirmation`.
QUALIFIERS = (
    "again",
    "confirm",
    "confirmation",
    "current",
    "encoded",
    "hash",
    "header",
    "new",
    "old",
    "pem",
    "plain",
    "plaintext",
    "repeat",
    "text",
    "value",
)

#: Endings of names that are written in one word, such as `dbpassword`.
_ENDINGS = (
    "accesskey",
    "apikey",
    "credentials",
    "passphrase",
    "passwd",
    "password",
    "privatekey",
    "secret",
    "secretkey",
    "token",
)

_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")

#: Words whose plural is not secret: `max_tokens` is a number.
_SINGULAR = frozenset(("token",))

_SECRET = frozenset(
    tuple(form.split())
    for words in SECRET_WORDS
    for form in (words, words if words in _SINGULAR else f"{words}s")
)
_LONGEST = max(map(len, _SECRET))


# Names come from messages, so their number is unlimited.
@lru_cache(maxsize=10_000)
def is_secret_name(name: str) -> bool:
    """Return whether an argument or a key of this name is secret in every task.

    Digits, separators and the case of letters do not matter. A name that only contains
    a secret word, such as `password_length`, is not secret.
    """
    words = [word.lower() for word in _WORD.findall(name)]
    while words and words[-1] in QUALIFIERS:
        words.pop()
    if not words:
        return False
    ends = (tuple(words[-count:]) for count in range(1, _LONGEST + 1))
    return not _SECRET.isdisjoint(ends) or words[-1].endswith(_ENDINGS)

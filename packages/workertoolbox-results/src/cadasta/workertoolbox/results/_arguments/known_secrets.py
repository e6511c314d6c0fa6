"""The secrets of one task, and their masking wherever they appear again."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, quote_plus, unquote

from cadasta.workertoolbox.results._arguments.secret_names import is_secret_name
from cadasta.workertoolbox.results._arguments.secret_texts import MASK

#: Length in characters from which a text is looked for. Shorter ones are too common.
MIN_LENGTH = 4

#: Number of digits from which a number is looked for.
MIN_DIGITS = 6

#: Length from which a secret is also masked within a longer word.
MIN_LENGTH_IN_WORD = 8

#: Maximum number of secrets of one task that are looked for.
MAX_SECRETS = 1000

#: The scheme before a token, as in `Authorization: Bearer …`.
_SCHEME = re.compile(r"(?:basic|bearer|digest|token)\s+", re.IGNORECASE)

#: Values that are not secret, although the argument that holds them is secret.
_COMMON = frozenset(("false", "none", "null", "true", "undefined", MASK))


@dataclass(frozen=True, slots=True)
class KnownSecrets:
    """Secret values of one task's arguments.

    Attributes:
        forms: The values, and the forms that they have in reprs, JSON and URLs; the
            longest first.
    """

    forms: tuple[str, ...] = ()

    @classmethod
    def of(cls, values: Iterable[Any]) -> KnownSecrets:
        """Return the secrets in values that were masked."""
        found: set[str] = set()
        for value in values:
            for text in _secret_texts(value):
                if len(found) < MAX_SECRETS:
                    found.add(text)
        forms = {form for text in found for form in _forms(text)}
        return cls(tuple(sorted(forms, key=lambda form: (-len(form), form))))

    def __bool__(self) -> bool:
        return bool(self.forms)

    def mask_text(self, text: str) -> str:
        """Return a text in which the secrets are masked."""
        for form in self.forms:
            if form not in text:
                continue
            if len(form) >= MIN_LENGTH_IN_WORD:
                text = text.replace(form, MASK)
            else:
                text = re.sub(rf"(?<!\w){re.escape(form)}(?!\w)", MASK, text)
        return text

    def mask(self, value: Any) -> Any:
        """Return a JSON value in which the secrets are masked, in keys too."""
        if not self.forms:
            return value
        if isinstance(value, str):
            return self.mask_text(value)
        if isinstance(value, dict):
            return {self.mask(key): self.mask(item) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return [self.mask(item) for item in value]
        if isinstance(value, int) and not isinstance(value, bool):
            return MASK if str(value) in self.forms else value
        return value


def leaves(value: Any) -> Iterator[Any]:
    """Yield the values in nested lists and dicts."""
    if isinstance(value, dict):
        for key, item in value.items():
            # The type of an object that kombu encodes is not part of its value.
            if key != "__type__":
                yield from leaves(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from leaves(item)
    else:
        yield value


def _secret_texts(value: Any) -> Iterator[str]:
    """Yield the texts in a masked value that are long enough to be looked for."""
    for leaf in leaves(_secret_part(value)):
        if isinstance(leaf, bytes):
            leaf = leaf.decode("utf-8", "replace")
        if isinstance(leaf, str):
            text = leaf.strip()
            without_scheme = _SCHEME.sub("", text)
            yield from filter(_can_be_secret, {text, without_scheme})
        elif isinstance(leaf, int) and abs(leaf) >= 10 ** (MIN_DIGITS - 1):
            yield str(leaf)


def _can_be_secret(text: str) -> bool:
    """Return whether a text is more than a placeholder such as `xxxx` or `null`."""
    is_long = len(text) >= MIN_LENGTH and len(set(text)) > 1
    return is_long and text.lower() not in _COMMON


def _secret_part(value: Any) -> Any:
    """Return the secret items of an object, such as `credentials`, if it names some."""
    if isinstance(value, dict):
        named = [
            item
            for key, item in value.items()
            if isinstance(key, str) and is_secret_name(key)
        ]
        return named or value
    return value


def _forms(text: str) -> set[str]:
    """Return a secret as it is, and as reprs, JSON and URLs contain it."""
    ascii_json = json.dumps(text)[1:-1]
    plain_json = json.dumps(text, ensure_ascii=False)[1:-1]
    try:
        quoted = {quote(text, safe=""), quote_plus(text)}
    except UnicodeEncodeError:  # A lone surrogate.
        quoted = set()
    forms = {text, repr(text)[1:-1], ascii_json, plain_json, unquote(text), *quoted}
    return {form for form in forms if len(form) >= MIN_LENGTH}

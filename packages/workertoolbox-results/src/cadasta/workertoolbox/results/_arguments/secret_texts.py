"""Masking of secrets in free text: JSON, reprs, lists of `name=value`, and URLs.

The cost is linear in the length of the text, whatever it contains.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from cadasta.workertoolbox.results._arguments.secret_names import is_secret_name

#: The text that replaces a secret value.
MASK = "********"

#: A name, quoted or not, and the sign between it and its value. It begins at the
#: beginning of a word, so that a long word is read once.
_NAME = re.compile(
    r"""(?<![\w-])(?P<name>[\w-]++)(?P<quote>\\*+["'])?+\s*+(?:=>|[:=](?!=))\s*+"""
)

#: The opening quote of a value, with the backslashes that JSON within JSON has.
_QUOTE = re.compile(r"""[bBrRuU]{0,2}+(?P<escape>\\*+)(?P<mark>["'])""")

#: A value without quotes. A name before a bracket is a function that is called.
_BARE = re.compile(
    r"""(?![\w.]*+\()"""
    r"""(?:(?:basic|bearer|digest|negotiate|token)\s++)?+[^\s,;&'"()\[\]{}<>\\]++""",
    re.IGNORECASE,
)

#: Values of these headers reach to the end of the line.
_LINE_NAMES = re.compile(r"(?:authorization|cookies?)$", re.IGNORECASE)
_LINE = re.compile(r"""[^\r\n'"]++""")

_BRACKETS = re.compile(r"""(\\*)(["'])|[\[{(]|[\]})]""")

#: A URL's parameters that are secret although no argument of that name is.
_SIGNATURE = re.compile(r"([?&](?:sig|[\w-]*signature)=)[^\s&#'\"]+", re.IGNORECASE)

#: A login in a URL without a password, and one with a password up to its colon. A port
#: is not a password.
_LOGIN = re.compile(r"""([^\s:/?#'"<>@]++)@""")
_USER = re.compile(r"""(?!\[)[^\s:/?#'"<>]*+:(?!\d{1,5}(?:[/?#\s,;.)'"\\]|$))(?=\S)""")

_LINE_END = re.compile(r"[\r\n]")
_SPACE = re.compile(r"\s")
_QUOTES = re.compile(r"""['"<>]""")

#: Longest scheme of a URL that is recognized, in characters.
_MAX_SCHEME = 40

#: Schemes with which a login without `:` is a secret: a password of Redis, a token.
_LOGIN_IS_SECRET = ("redis", "rediss", "sentinel", "http", "https")


def mask_text(
    text: str,
    is_secret: Callable[[str], object] = is_secret_name,
    *,
    hidden: list[Any] | None = None,
) -> str:
    """Return a text in which the values of secret names, and passwords, are masked.

    Args:
        hidden: List to which every masked value is added.
    """
    if ":" not in text and "=" not in text:
        return text
    hidden = [] if hidden is None else hidden
    # Most texts have no secret name, and this is the fastest way to see that.
    if any(is_secret(name) for name, _ in _NAME.findall(text)):
        text = _mask_values(text, is_secret, hidden)
    return mask_urls(text, hidden) if "://" in text else text


def _mask_values(
    text: str, is_secret: Callable[[str], object], hidden: list[Any]
) -> str:
    pieces: list[str] = []
    position = 0
    for value in _secret_values(text, is_secret):
        pieces += [text[position : value.start], value.replacement]
        position = value.end
        hidden.append(value.text)
    return "".join(pieces) + text[position:]


def mask_urls(text: str, hidden: list[Any]) -> str:
    """Return a text in which the passwords and signatures of URLs are masked."""
    masked = "".join(_masked_urls(text, hidden)) if "@" in text else text
    return _SIGNATURE.sub(rf"\g<1>{MASK}", masked) if "?" in masked else masked


class _SecretValue(NamedTuple):
    """A secret value in a text.

    Attributes:
        start: Its beginning in the text.
        end: Its end.
        text: The value without quotes.
        replacement: What is shown instead.
    """

    start: int
    end: int
    text: str
    replacement: str


def _secret_values(
    text: str, is_secret: Callable[[str], object]
) -> Iterator[_SecretValue]:
    position = 0
    while (found := _NAME.search(text, position)) is not None:
        position = found.end()
        if not is_secret(found["name"]) or text.startswith(MASK, position):
            continue
        value = _read_value(text, position, found["name"], found["quote"] or "")
        position = value.end
        if value.text and value.text != MASK:
            yield value


def _read_value(text: str, start: int, name: str, quote: str) -> _SecretValue:
    """Return the value that begins at `start`, with the quotes that its name has."""
    if (opened := _QUOTE.match(text, start)) is not None:
        end = _string_end(text, opened)
        closing = opened["escape"] + opened["mark"]
        value = text[opened.end() : end].removesuffix(closing)
        return _SecretValue(start, end, value, f"{opened[0]}{MASK}{closing}")
    if text[start : start + 1] in ("[", "{", "("):
        end = _closing_bracket(text, start)
    else:
        pattern = _LINE if _LINE_NAMES.search(name) and not quote else _BARE
        bare = pattern.match(text, start)
        end = start if bare is None else bare.end()
    return _SecretValue(start, end, text[start:end], f"{quote}{MASK}{quote}")


def _string_end(text: str, opened: re.Match[str]) -> int:
    """Return the end of a quoted string; without a closing quote, that of the text.

    Within JSON of JSON, quotes have 1, 3 or 7 backslashes before them, and quotes
    within the string have more.
    """
    level = len(opened["escape"])
    closing = re.compile(rf"(\\*+){opened['mark']}")
    for quote in closing.finditer(text, opened.end()):
        if len(quote[1]) % (2 * level + 2) == level:
            return quote.end()
    return len(text)


def _closing_bracket(text: str, start: int) -> int:
    """Return the end of a list or object; without its bracket, that of the text."""
    depth, position = 0, start
    while (found := _BRACKETS.search(text, position)) is not None:
        position = found.end()
        if found[2]:
            opened = _QUOTE.match(text, found.start())
            position = _string_end(text, opened) if opened else position
            continue
        depth += 1 if found[0] in "[{(" else -1
        if depth == 0:
            return position
    return len(text)


def _masked_urls(text: str, hidden: list[Any]) -> Iterator[str]:
    """Yield the parts of a text between `://`, with logins masked."""
    before, *parts = text.split("://")
    yield before
    for part in parts:
        scheme = before[-_MAX_SCHEME:]
        before = part
        yield "://"
        if (user := _USER.match(part)) is not None:
            end = _password_end(part, user.end())
            if end is None:
                yield part
                continue
            hidden.append(part[user.end() : end])
            yield f"{user[0]}{MASK}{part[end:]}"
        elif (login := _LOGIN.match(part)) and scheme.lower().endswith(
            _LOGIN_IS_SECRET
        ):
            hidden.append(login[1])
            yield f"{MASK}@{part[login.end() :]}"
        else:
            yield part


def _password_end(text: str, start: int) -> int | None:
    """Return where the password ends that begins here, or None if no `@` follows.

    A password may contain spaces, and `@` in its last word.
    """
    end = _LINE_END.search(text, start)
    line = text[start : end.start() if end else len(text)]
    at = line.find("@")
    if at == -1 or (_SPACE.search(line, 0, at) and _QUOTES.search(line, 0, at)):
        return None
    space = _SPACE.search(line, at)
    return start + line.rindex("@", 0, space.start() if space else len(line))

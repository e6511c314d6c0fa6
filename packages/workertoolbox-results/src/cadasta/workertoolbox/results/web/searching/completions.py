"""Completion of a query: fields, and values that tasks have."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

from cadasta.workertoolbox.results._database.statuses import STATUSES, USUAL_STATES
from cadasta.workertoolbox.results._query.fields import FIELDS, Kind
from cadasta.workertoolbox.results._query.parser import MAX_LENGTH
from cadasta.workertoolbox.results.web.searching.terms import quoted_value

#: Maximum number of completions: more than fit below a box.
MAX_OPTIONS = 12

#: What the fields say of a task.
HINTS = {
    "id": "id of the task",
    "name": "name of the task; * stands for any characters",
    "status": "such as failure,lost",
    "queue": "work queue",
    "worker": "worker that ran it",
    "root": "id of the task that began the workflow",
    "parent": "id of the task that published it",
    "group": "id of its group",
    "origin": "process that published it",
    "service": "service that published it",
    "schedule": "entry of beat's schedule",
    "rerun_of": "id of the task that it repeats",
    "header": "a header, as in header.KEY:value",
    "stamp": "a stamp, as in stamp.KEY:value",
    "args": "an argument, as in args.order_id:4711",
    "error": "a text in its error",
    "error_group": "key of a group of errors",
    "retries": "as in retries:>2",
    "run": "how long it ran, as in run:>10s",
    "wait": "how long it waited, as in wait:>1m",
    "tracked": "no: no monitor has seen its message",
}

#: A word: a text in it ends at its quote, or at the end. The search for words takes
#: them from the left: that for the last one alone would try each place in the text.
_WORD = re.compile(r'(?:[^\s()"]+|"(?:[^"\\]|\\.)*"?)+', re.DOTALL)

#: A field with values: all but the last are complete.
_FIELD = re.compile(r"(?P<field>\w+):(?P<before>(?:.*,)?)(?P<last>[^,]*)", re.DOTALL)

_FLAGS = ("yes", "no")


class Option(NamedTuple):
    """A completion of the last word of a text.

    Attributes:
        text: What replaces the word.
        label: What is shown of it.
        hint: What it means; empty for a value.
    """

    text: str
    label: str
    hint: str = ""


class Completions(NamedTuple):
    """The completions of the last word of a text.

    Attributes:
        kept: The text before the word.
        options: What may follow it.
    """

    kept: str
    options: Sequence[Option]


#: The fields whose values are known, with a function that returns these.
Known = Mapping[str, Callable[[], Sequence[str]]]


def complete(text: str, known: Known) -> Completions:
    """Return the completions of the last word of a text.

    Args:
        text: A query up to the place where its user writes.
        known: Where the values of fields come from; it is asked for one field.
    """
    text = text[:MAX_LENGTH]
    words = (each[0] for each in _WORD.finditer(text) if each.end() == len(text))
    word = next(words, "")
    sign = "-" if word.startswith("-") else ""
    word = word.removeprefix(sign)
    kept = text[: len(text) - len(word)]
    match = _FIELD.fullmatch(word)
    if match is None or match["field"] not in FIELDS:
        options = [*_fields(word), *_names(word, known)]
        return Completions(kept, options[:MAX_OPTIONS])
    kept += word[: match.start("last")]
    values = _values(match["field"], known)
    options = [
        Option(quoted_value(each), each) for each in _near(match["last"], values)
    ]
    return Completions(kept, options[:MAX_OPTIONS])


def _fields(word: str) -> Iterator[Option]:
    for name, field in FIELDS.items():
        if name.startswith(word):
            text = f"{name}." if field.has_path else f"{name}:"
            yield Option(text, text, HINTS[name])


def _names(word: str, known: Known) -> Iterator[Option]:
    """Yield the names with a word in them, which is the only thing it can mean."""
    if len(word) > 1:
        for name in _near(word, known["name"]()):
            yield Option(f"name:{quoted_value(name)}", f"name:{name}")


def _values(field: str, known: Known) -> Sequence[str]:
    if field in known:
        return known[field]()
    match FIELDS[field].kind:
        case Kind.STATUS:
            return [each.lower() for each in (*STATUSES, *USUAL_STATES)]
        case Kind.FLAG:
            return _FLAGS
    return ()


def _near(word: str, values: Sequence[str]) -> Iterator[str]:
    """Yield the values that begin with a word, then those that contain it."""
    wanted = word.strip('"').casefold()
    later = []
    for each in values:
        folded = each.casefold()
        if folded.startswith(wanted):
            yield each
        elif wanted in folded:
            later.append(each)
    yield from later

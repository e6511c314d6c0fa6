"""The meaning of a query, in Python: what a search in SQL is compared with."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from operator import eq, ge, gt, le, lt
from typing import Any

from cadasta.workertoolbox.results import Task
from cadasta.workertoolbox.results._query.nodes import (
    And,
    Bound,
    Match,
    Node,
    Not,
    Or,
    Value,
)

_OPERATORS = {">": gt, ">=": ge, "<": lt, "<=": le, "=": eq}

_ATTRIBUTES = {"root": "root_id", "parent": "parent_id", "group": "group_id"}

_NUMBER = re.compile(r"-?(0|[1-9]\d*)(\.\d+)?([eE][+-]?\d+)?")

_WORDS: dict[str, Any] = {"true": True, "false": False, "null": None}


def holds(query: Node, task: Task, error_groups: Mapping[str, str | None]) -> bool:
    """Return whether a task matches a query.

    Args:
        error_groups: The error group of each task, by its id.
    """
    match query:
        case And(parts):
            return all(holds(part, task, error_groups) for part in parts)
        case Or(parts):
            return any(holds(part, task, error_groups) for part in parts)
        case Not(part):
            return not holds(part, task, error_groups)
        case Bound(field, operator, number):
            known = getattr(task, {"run": "run_s", "wait": "wait_s"}.get(field, field))
            return known is not None and _OPERATORS[operator](known, number)
        case Match("tracked", values):
            return any((value.text == "yes") is task.tracked for value in values)
        case Match("error", values):
            text = _lower(_error(task))
            found = (_matches(value, text, is_part=True) for value in values)
            return task.status != "SUCCESS" and any(found)
        case Match("args" | "header" | "stamp"):
            return any(_is_inside(query, task))
        case Match("error_group", values):
            return any(_matches(v, error_groups.get(task.id)) for v in values)
        case Match(field, values):
            text = getattr(task, _ATTRIBUTES.get(field, field))
            return any(_matches(value, text) for value in values)


def _matches(value: Value, text: str | None, *, is_part: bool = False) -> bool:
    if text is None:
        return False
    pieces = [
        {"*": ".*", "?": "."}[each] if is_wildcard else re.escape(each)
        for each, is_wildcard in value.pieces()
    ]
    pattern = "".join(pieces)
    if is_part:
        pattern = f".*{_lower(pattern)}.*"
    return re.fullmatch(pattern, text, re.DOTALL) is not None


def _lower(text: str | None) -> Any:
    return text and "".join(each.lower() if each.isascii() else each for each in text)


def _error(task: Task) -> str | None:
    match task.result:
        case {"exc_type": kind, "exc_message": [*parts]}:
            return f"{kind}: {', '.join(parts)}"
        case {"exc_type": kind, "exc_message": str(message)}:
            return f"{kind}: {message}"
        case str(text):
            return text
    return None


def _is_inside(query: Match, task: Task) -> Iterator[bool]:
    document: Any = task.headers
    if query.field == "args":
        document = task.args if query.path[0].isdecimal() else task.kwargs
    for found in _at(document, query.path):
        candidates = [found]
        if query.field != "args" and isinstance(found, list):
            candidates += found
        yield any(_equals(v, each) for v in query.values for each in candidates)


def _at(document: Any, path: Iterable[str]) -> Iterator[Any]:
    for segment in path:
        if isinstance(document, dict) and segment in document:
            document = document[segment]
        elif (
            isinstance(document, list)
            and segment.isdecimal()
            and int(segment) < len(document)
        ):
            document = document[int(segment)]
        else:
            return
    yield document


def _equals(value: Value, found: Any) -> bool:
    text = value.literal
    if text is None:
        if value.text == "*":
            return found is not None
        return isinstance(found, str) and _matches(value, found)
    if isinstance(found, str):
        return found == text
    if value.quoted:
        return False
    if text in _WORDS:
        return found is _WORDS[text]
    is_number = isinstance(found, int | float) and not isinstance(found, bool)
    return is_number and bool(_NUMBER.fullmatch(text)) and float(text) == found

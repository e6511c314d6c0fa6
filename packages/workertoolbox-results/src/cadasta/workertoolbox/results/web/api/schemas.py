"""JSON Schemas of the types that endpoints return.

They are made of the types and the docstrings of records, so they cannot differ from
what `as_json` returns.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from datetime import date, datetime
from enum import Enum
from types import NoneType, UnionType
from typing import (
    Any,
    Literal,
    NamedTuple,
    Union,
    get_args,
    get_origin,
    get_type_hints,
)

from cadasta.workertoolbox.results._json_record import json_members
from cadasta.workertoolbox.results.web.api.docstrings import entries_of, text_of

Schema = dict[str, Any]

_PLAIN: Mapping[Any, Schema] = {
    Any: {},
    NoneType: {"type": "null"},
    bool: {"type": "boolean"},
    date: {"type": "string", "format": "date"},
    datetime: {"type": "string", "format": "date-time"},
    float: {"type": "number"},
    int: {"type": "integer"},
    str: {"type": "string"},
}


class _Member(NamedTuple):
    """The type of a member of a JSON object, and its description."""

    hint: Any
    text: str


class Schemas:
    """JSON Schemas; those of records are components that others refer to.

    Attributes:
        components: The schemas of records, by the names of their classes.
    """

    def __init__(self) -> None:
        self.components: dict[str, Schema] = {}

    def of(self, hint: Any) -> Schema:
        """Return the schema of a type."""
        if hint in _PLAIN:
            return {**_PLAIN[hint]}
        origin, options = get_origin(hint), get_args(hint)
        if origin in (Union, UnionType):
            return _any_of([self.of(each) for each in options])
        if origin is Literal:
            return {"type": "string", "enum": [*options]}
        if origin is not None and issubclass(origin, Sequence):
            return {"type": "array", "items": self.of(options[0])}
        if origin is not None and issubclass(origin, Mapping):
            return {"type": "object", "additionalProperties": self.of(options[1])}
        if issubclass(hint, Enum):
            return {"type": "string", "enum": [each.value for each in hint]}
        return self._record(hint)

    def _record(self, kind: Any) -> Schema:
        name: str = kind.__name__
        if name not in self.components:
            self.components[name] = {}  # A record may refer to itself.
            members = {
                key: _member(kind, path) for key, path in json_members(kind).items()
            }
            self.components[name] = {
                "description": text_of(kind),
                "type": "object",
                "required": [*members],
                "properties": {
                    key: self.of(each.hint) | {"description": each.text}
                    for key, each in members.items()
                },
            }
        return {"$ref": f"#/components/schemas/{name}"}


def _any_of(options: Sequence[Schema]) -> Schema:
    if all(each.keys() == {"type"} for each in options):
        return {"type": [each["type"] for each in options]}
    return {"anyOf": [*options]}


def _member(kind: Any, path: Sequence[str], *, may_be_null: bool = False) -> _Member:
    """Return the member of a record's object whose value is at a path."""
    name, *rest = path
    found = inspect.getattr_static(kind, name, None)
    if isinstance(found, property):
        hint, text = get_type_hints(found.fget)["return"], text_of(found)
    else:
        hint = get_type_hints(kind)[name]
        text = entries_of(kind, "Attributes").get(name, "")
    if not rest:
        return _Member(hint | None if may_be_null else hint, text)
    options = get_args(hint) if isinstance(hint, UnionType) else (hint,)
    [record] = [each for each in options if each is not NoneType]
    return _member(record, rest, may_be_null=may_be_null or NoneType in options)

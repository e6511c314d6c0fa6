"""Records that commands print with `--json`, and that the web API returns."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import fields
from datetime import date
from functools import cache
from types import UnionType
from typing import Any, ClassVar, cast, get_args, get_type_hints


class JsonRecord:
    """Base of dataclasses that are shown as a JSON object.

    Its members are the fields of the class, with the changes that these attributes
    name. The OpenAPI document describes the same members.

    Attributes:
        json_hidden: Fields that are left out.
        json_merged: Fields with another record, or None, whose members take their
            place.
        json_added: Members with the path of their value, such as `drain_s` or
            `task.name`. One with the name of a field replaces it.
        json_first: Members that come before the others.
    """

    __slots__ = ()

    json_hidden: ClassVar[frozenset[str]] = frozenset()
    json_merged: ClassVar[frozenset[str]] = frozenset()
    json_added: ClassVar[Mapping[str, str]] = {}
    json_first: ClassVar[tuple[str, ...]] = ()

    def as_json(self) -> dict[str, Any]:
        """Return the values for `--json`: instants and dates in ISO 8601."""
        return {
            name: _json_value(_value_at(self, path))
            for name, path in json_members(cast(Any, type(self))).items()
        }


@cache
def json_members(kind: Hashable) -> Mapping[str, tuple[str, ...]]:
    """Return the members of the JSON object of a class of records.

    Each has the path of its value.
    """
    found: dict[str, tuple[str, ...]] = {}
    record: Any = kind
    for field in fields(record):
        if field.name in record.json_merged:
            inner = json_members(_record_in(record, field.name))
            found |= {name: (field.name, *path) for name, path in inner.items()}
        elif field.name not in record.json_hidden:
            found[field.name] = (field.name,)
    added = {name: tuple(path.split(".")) for name, path in record.json_added.items()}
    found |= added
    return {name: found[name] for name in (*record.json_first, *found)}


def _record_in(kind: type, field: str) -> Any:
    """Return the class of the record in a field; None beside it does not matter."""
    hint = get_type_hints(kind)[field]
    options = get_args(hint) if isinstance(hint, UnionType) else (hint,)
    [record] = [each for each in options if issubclass(each, JsonRecord)]
    return record


def _value_at(record: Any, path: tuple[str, ...]) -> Any:
    for name in path:
        if record is None:
            return None
        record = getattr(record, name)
    return record


def _json_value(value: Any) -> Any:
    """Return a value for JSON; those without a record or an instant in them are as is.

    A field has either one of them, or a sequence of them.
    """
    match value:
        case date():
            return value.isoformat()
        case JsonRecord():
            return value.as_json()
        case list() | tuple():
            return [
                each.as_json() if isinstance(each, JsonRecord) else each
                for each in value
            ]
        case Mapping():
            return dict(value)
    return value

"""The fields of the query language."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum


class Kind(Enum):
    """What the values of a field are."""

    #: A text; `*` and `?` are wildcards.
    PATTERN = "pattern"

    #: A status, in any case.
    STATUS = "status"

    #: A part of a text; the case of ASCII letters does not matter.
    PART = "part"

    #: A whole number, maybe after `>`, `>=`, `<`, `<=` or `=`.
    NUMBER = "number"

    #: A duration, likewise.
    DURATION = "duration"

    #: `yes` or `no`.
    FLAG = "flag"

    #: A value inside of JSON.
    JSON = "json"


@dataclass(frozen=True, slots=True)
class Field:
    """A field of the query language.

    Attributes:
        kind: What its values are.
        columns: The columns of the history, and of the view of live tasks, that it
            looks at.
        has_path: Whether a path follows its name, as in `args.order.id`.
    """

    kind: Kind
    columns: tuple[str, ...]
    has_path: bool = False


FIELDS: Mapping[str, Field] = {
    "id": Field(Kind.PATTERN, ("id",)),
    "name": Field(Kind.PATTERN, ("name",)),
    "status": Field(Kind.STATUS, ("status",)),
    "queue": Field(Kind.PATTERN, ("queue",)),
    "worker": Field(Kind.PATTERN, ("worker",)),
    "root": Field(Kind.PATTERN, ("root_id",)),
    "parent": Field(Kind.PATTERN, ("parent_id",)),
    "group": Field(Kind.PATTERN, ("group_id",)),
    "origin": Field(Kind.PATTERN, ("origin",)),
    "service": Field(Kind.PATTERN, ("service",)),
    "schedule": Field(Kind.PATTERN, ("schedule",)),
    "rerun_of": Field(Kind.PATTERN, ("rerun_of",)),
    "header": Field(Kind.JSON, ("headers",), has_path=True),
    "stamp": Field(Kind.JSON, ("headers",), has_path=True),
    "args": Field(Kind.JSON, ("args", "kwargs"), has_path=True),
    "error": Field(Kind.PART, ("result", "not_run", "status")),
    "error_group": Field(Kind.PATTERN, ("error_group",)),
    "retries": Field(Kind.NUMBER, ("retries",)),
    "run": Field(Kind.DURATION, ("started_at", "finished_at")),
    "wait": Field(Kind.DURATION, ("waited_s", "scheduled_at", "eta", "started_at")),
    "tracked": Field(Kind.FLAG, ("tracked",)),
}

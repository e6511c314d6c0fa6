"""Records as JSON objects."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import ClassVar

from cadasta.workertoolbox.results._json_record import JsonRecord

AT = datetime(2026, 11, 29, 6, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Run(JsonRecord):
    at: datetime
    worker: str | None = None


@dataclass(frozen=True, slots=True)
class Entry(JsonRecord):
    json_hidden: ClassVar = frozenset({"secret"})
    json_merged: ClassVar = frozenset({"last"})
    json_added: ClassVar = {"size": "size", "first_at": "first.at", "name": "title"}
    json_first: ClassVar = ("size",)

    name: str
    secret: str
    last: Run | None
    first: Run
    runs: Sequence[Run] = ()
    counts: Mapping[str, int] = field(default_factory=dict)

    @property
    def size(self) -> int:
        return len(self.runs)

    @property
    def title(self) -> str:
        return self.name.title()


def test_instants_records_and_sequences_become_json() -> None:
    run = Run(AT, "w")
    entry = Entry("nightly", "x", run, Run(AT), (run,), {"a": 1})

    assert entry.as_json() == {
        "size": 1,
        "name": "Nightly",
        "at": "2026-11-29T06:00:00+00:00",
        "worker": "w",
        "first": {"at": "2026-11-29T06:00:00+00:00", "worker": None},
        "runs": [{"at": "2026-11-29T06:00:00+00:00", "worker": "w"}],
        "counts": {"a": 1},
        "first_at": "2026-11-29T06:00:00+00:00",
    }


def test_keys_are_in_the_order_of_the_fields_after_the_first_ones() -> None:
    keys = [*Entry("nightly", "x", None, Run(AT)).as_json()]

    assert keys == "size name at worker first runs counts first_at".split()


def test_members_of_a_missing_record_are_none() -> None:
    found = Entry("nightly", "x", None, Run(AT)).as_json()

    assert (found["at"], found["worker"]) == (None, None)

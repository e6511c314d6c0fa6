"""Headers of chords whose failed tasks are published again.

If a task of a header fails, the body fails too, and the results of all tasks of the
header stay stored. A rerun stores a new chord of the same size with the results of the
successful tasks, and publishes the failed ones as its remaining tasks. The worker that
counts the last of them starts the new body, once, with the results of the whole header.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, NamedTuple

from celery import states
from sqlalchemy import Connection, Engine, func, insert, literal, select

from cadasta.workertoolbox.results._database.engine import (
    insert_into,
    translate_errors,
)
from cadasta.workertoolbox.results._database.tables import chord, chord_part
from cadasta.workertoolbox.results._database.time_limits import begin_limited
from cadasta.workertoolbox.results._reruns.messages import new_id
from cadasta.workertoolbox.results._store.operations.journal import Operation
from cadasta.workertoolbox.results._store.tasks.stored_calls import StoredCall

#: The states of failed tasks of a header.
_FAILED = sorted(states.PROPAGATE_STATES)

#: How a reason begins, and how it ends.
_PART = "it belongs to the header of a chord"
_RUN_ALL = "run the workflow again"
_EXPIRED = f"{_PART} that is not stored any more (result_expires); {_RUN_ALL}"


class Place(NamedTuple):
    """A place in the header of a chord, for the result of a task or of a step after it.

    Attributes:
        chord_id: Id of the group that is the header.
        task_id: Id of the task whose result the header gets.
    """

    chord_id: str
    task_id: str


@dataclass(frozen=True, slots=True)
class Header:
    """A header whose failed tasks can be published again, or why they cannot.

    Attributes:
        failed: The ids of its failed tasks.
        obstacle: Why they cannot be published.
    """

    failed: Collection[str] = ()
    obstacle: str | None = None


class Headers:
    """The headers of chords; each is read once.

    Args:
        engine: The database with the chords.
        timeout_s: Seconds that each query may take.
    """

    def __init__(self, engine: Engine, *, timeout_s: float) -> None:
        self._engine = engine
        self._timeout_s = timeout_s
        self._read: dict[str, Header] = {}

    def find_obstacle(self, place: Place) -> str | None:
        """Return why the task in a place cannot be published again, or None.

        Raises:
            DatabaseUnavailable: The database cannot be reached, or refuses the query.
            QueryTimeout: The query takes longer than `timeout_s`.
        """
        header = self._get(place.chord_id)
        if header.obstacle is None and place.task_id not in header.failed:
            return f"{_PART} that has counted it as successful; run it alone, by its id"
        return header.obstacle

    def find_unplanned(
        self, places: Mapping[str, Sequence[Place]]
    ) -> Mapping[str, str]:
        """Return the tasks that cannot be published without others.

        Args:
            places: The places that each of the tasks fills, by its id.

        Returns:
            For each of them, the id of a further task that its header needs.

        Raises:
            DatabaseUnavailable: The database cannot be reached, or refuses the query.
            QueryTimeout: The query takes longer than `timeout_s`.
        """
        left, unplanned = dict(places), dict[str, str]()
        while True:
            filled = {each for some in left.values() for each in some}
            lacking: dict[str, str] = {}
            for id in sorted({each.chord_id for each in filled}):
                planned = {each.task_id for each in filled if each.chord_id == id}
                if others := {*self._get(id).failed} - planned:
                    lacking[id] = min(others)
            found = {
                id: lacking[each.chord_id]
                for id, some in left.items()
                for each in some
                if each.chord_id in lacking
            }
            if not found:
                return unplanned
            # If their chord is itself in a header, that header lacks its body then.
            unplanned |= found
            left = {id: some for id, some in left.items() if id not in found}

    def _get(self, chord_id: str) -> Header:
        if chord_id not in self._read:
            with begin_limited(self._engine, self._timeout_s) as connection:
                self._read[chord_id] = _read_header(connection, chord_id)
        return self._read[chord_id]


def places_of(call: StoredCall) -> Sequence[Place]:
    """Return the places that a task, and the steps after it, have in open headers.

    There are several if the body of the chord is itself in the header of another one.
    """
    parts, task = call.options.get("next", {}), call.task
    if chain := parts.get("chain"):
        return [*_places(chain[0])]  # Celery stores a chain in reverse order.
    if parts.get("chord") and task.group_id:
        return [Place(task.group_id, task.id), *_places(parts["chord"])]
    return []


def has_chord(engine: Engine, chord_id: str, *, timeout_s: float) -> bool:
    """Return whether a chord is stored.

    Args:
        timeout_s: As for `Headers`.

    Raises:
        DatabaseUnavailable: The database cannot be reached, or refuses the query.
        QueryTimeout: The query takes longer.
    """
    with begin_limited(engine, timeout_s) as connection:
        return _has_chord(connection, chord_id)


def find_rival(
    engine: Engine, call: StoredCall, operation: Operation, others: Collection[str]
) -> str | None:
    """Return which other operation has begun to rerun a header meanwhile, or None.

    If each published some of its tasks, neither of their chords would be complete.

    Args:
        operation: The operation that is to publish a task of the header.
        others: The keys of operations that contain the task too.

    Raises:
        DatabaseUnavailable: The database cannot be reached, or refuses a query.
    """
    for place in places_of(call):
        ids = {new_id(each, place.chord_id): each for each in others}
        active = select(chord.c.id).where(
            chord.c.id.in_(sorted(ids)), chord.c.touched_at > operation.started_at
        )
        with translate_errors(engine), engine.connect() as connection:
            if _has_chord(connection, new_id(operation.id, place.chord_id)):
                continue
            found = connection.scalars(active).first()
        if found is not None:
            return f"operation {ids[found]} has rerun its chord meanwhile"
    return None


def make_chords(engine: Engine, call: StoredCall, operation_id: str) -> str | None:
    """Store the new chords that a task is part of, unless they are stored already.

    Returns:
        Why the task cannot be published, if an old chord has expired meanwhile.

    Raises:
        DatabaseUnavailable: The database cannot be reached, or refuses a statement.
    """
    for place in places_of(call):
        with translate_errors(engine), engine.begin() as connection:
            if _has_chord(connection, new_id(operation_id, place.chord_id)):
                continue
            if not _make_chord(connection, place.chord_id, operation_id):
                return _EXPIRED
    return None


def _places(signature: Any) -> Iterator[Place]:
    """Yield the places of the last tasks of a signature."""
    match signature:
        case {"task": "celery.chain", "kwargs": {"tasks": [*_, last]}}:
            yield from _places(last)
        case {"task": "celery.chord", "kwargs": {"body": body}}:
            yield from _places(body)
        case {"task": "celery.group", "kwargs": {"tasks": [*members]}}:
            for member in members:
                yield from _places(member)
        case {"options": {"chord": body, "group_id": str(id), "task_id": str(own)}} if (
            body
        ):
            yield Place(id, own)
            yield from _places(body)


def _read_header(connection: Connection, chord_id: str) -> Header:
    old, part = chord.c, chord_part.c
    query = select(old.size, old.added, old.started_at).where(old.id == chord_id)
    row = connection.execute(query).first()
    if row is None:
        return Header(obstacle=_EXPIRED)
    states_of = select(part.task_id, part.status).where(part.chord_id == chord_id)
    parts = connection.execute(states_of).all()
    if row.started_at is None:
        size = "" if row.size is None else f" of {row.size + row.added:,}"
        return Header(
            obstacle=f"{_PART} that has not ended: {len(parts):,}{size} tasks have; "
            "try again when the others have ended, or run the workflow again if one of "
            "them was lost or has expired"
        )
    if row.added:
        added = f"{_PART} to which a task was added with add_to_chord"
        return Header(obstacle=f"{added}; {_RUN_ALL}")
    if not parts:
        return Header(
            obstacle=f"{_PART} whose results were not kept, because a worker with an "
            f"earlier release ended it; {_RUN_ALL}"
        )
    if len({id for id, _ in parts}) != row.size:
        twice = f"{_PART} that contains a task twice, or one that `tasks purge` erased"
        return Header(obstacle=f"{twice}; {_RUN_ALL}")
    return Header({id for id, state in parts if state in _FAILED})


def _has_chord(connection: Connection, chord_id: str) -> bool:
    query = select(chord.c.id).where(chord.c.id == chord_id)
    return connection.execute(query).first() is not None


def _make_chord(connection: Connection, old_id: str, operation_id: str) -> bool:
    """Store a chord with the successful parts of another; False without that one."""
    id, old, part = new_id(operation_id, old_id), chord.c, chord_part.c
    is_done = [part.chord_id == old_id, part.status.not_in(_FAILED)]
    query = select(old.header, old.size).where(old.id == old_id)
    row = connection.execute(query).first()
    if row is None:
        return False
    header, size = row
    if header is not None:
        failed = select(part.task_id).where(
            part.chord_id == old_id, part.status.in_(_FAILED)
        )
        ids = {each: new_id(operation_id, each) for each in connection.scalars(failed)}
        header = _with_ids(bytes(header), ids)
    new = insert_into(chord, connection.dialect.name).values(
        id=id,
        header=header,
        size=size,
        added=0,
        done=select(func.count()).where(*is_done).scalar_subquery(),
        starters=0,
        touched_at=datetime.now(UTC),
    )
    # Another process that resumes the operation may have stored it meanwhile.
    if connection.execute(new.on_conflict_do_nothing()).rowcount == 1:
        others = (part.task_id, part.position, part.status, part.result)
        parts = select(literal(id), *others).where(*is_done)
        names = chord_part.c.keys()
        connection.execute(insert(chord_part).from_select(names, parts))
    return True


def _with_ids(header: bytes, ids: Mapping[str, str]) -> bytes:
    """Return the encoded results of a header with other ids of tasks."""

    def replaced(value: Any) -> Any:
        if isinstance(value, list):
            return [replaced(each) for each in value]
        return ids.get(value, value) if isinstance(value, str) else value

    return json.dumps(replaced(json.loads(header))).encode()

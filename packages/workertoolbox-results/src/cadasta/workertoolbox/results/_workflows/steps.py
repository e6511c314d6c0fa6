"""Steps of a workflow that a task message announces.

A monitor stores them as planned, and a worker as not run if the task fails.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from cadasta.workertoolbox.results._arguments.jsonable import (
    MAX_DEPTH,
    MAX_NAME_LENGTH,
    jsonable,
)


@dataclass(frozen=True, slots=True)
class Step:
    """A task that another task's message announces: it has an id, but no message yet.

    Attributes:
        parent_id: Id of the task that it follows; None if it follows several.
        header_id: Id of the group before it, if the step is in the body of a chord; the
            group is the header.
        group_id: Id of the group that it is part of, or None. The body of a chord has
            that of its header, but not the later steps of a body that is a chain.
        queue: The queue that its options name, or None.
        is_of_open_chord: Whether it is in the body of a chord that an earlier task is
            part of. That chord publishes it or fails it when its header is over.
    """

    id: str
    name: str
    parent_id: str | None
    header_id: str | None
    group_id: str | None
    queue: str | None
    is_of_open_chord: bool = False


class _Place(NamedTuple):
    """The place of a signature in a workflow: its parent, its header and its group."""

    parent_id: str | None = None
    header_id: str | None = None
    group_id: str | None = None


def steps_after(
    embedded: Mapping[str, Any], *, task_id: str | None, group_id: str | None = None
) -> Iterator[Step]:
    """Yield the steps that a task message announces.

    They are the rest of the chain, the body of the chord, and the callbacks, if they
    have an id. Error callbacks are left out, as they run only after a failure.

    Args:
        embedded: The third part of the message's body. Its keys `chain`, `chord` and
            `callbacks` contain signatures, as in Celery's protocol 2. Anything that is
            not a signature is skipped.
        task_id: Id of the task that the message is for.
        group_id: Id of the group that the task is part of.
    """
    return _steps_after(embedded, task_id, group_id, 0)


def _steps_after(
    options: Mapping[Any, Any], task_id: str | None, group_id: str | None, depth: int
) -> Iterator[Step]:
    """Yield the steps after a task.

    Args:
        options: The embedded part of a message or the options of a signature. Both have
            the same keys, except that callbacks are called `link` in a signature.
    """
    after = _Place(parent_id=task_id)
    # Celery stores a chain in reverse order.
    chain = reversed(_as_list(options.get("chain")))
    yield from _steps_of_chain(chain, after, depth)
    for step in _steps_of(options.get("chord"), _Place(header_id=group_id), depth):
        # Celery counts the last step of a body in the group that is its header.
        is_after = step.group_id == group_id and step.header_id != group_id
        own_group = None if is_after else step.group_id
        yield replace(step, group_id=own_group, is_of_open_chord=True)
    for key in ("callbacks", "link"):
        for signature in _as_list(options.get(key)):
            yield from _steps_of(signature, after, depth)


def _steps_of_chain(
    signatures: Iterable[Any], place: _Place, depth: int
) -> Iterator[Step]:
    *before, last = [None, *signatures]
    after = place._replace(group_id=None)
    for signature in before:
        yield from _steps_of(signature, after, depth)
        after = after if signature is None else _place_after(signature, depth)
    # Celery counts the last task of a chain in the group that contains the chain.
    yield from _steps_of(last, after._replace(group_id=place.group_id), depth)


def _steps_of(signature: Any, place: _Place, depth: int) -> Iterator[Step]:
    if depth > MAX_DEPTH:
        return
    match signature:
        case [*members]:
            for member in members:
                yield from _steps_of(member, place, depth + 1)
        case {"task": "celery.group", "kwargs": {"tasks": [*members]}}:
            # Celery resolves groups within a group.
            group_id = place.group_id or _id_of(signature)
            for member in members:
                inside = place._replace(group_id=group_id)
                yield from _steps_of(member, inside, depth + 1)
        case {"task": "celery.chain", "kwargs": {"tasks": [*members]}}:
            yield from _steps_of_chain(members, place, depth + 1)
        case {"task": "celery.chord", "kwargs": {"header": header, "body": body}}:
            # A chord that is not published yet has the id of its header.
            id = _id_of(signature)
            yield from _steps_of(header, place._replace(group_id=id), depth + 1)
            after = _Place(header_id=id, group_id=place.group_id)
            yield from _steps_of(body, after, depth + 1)
        case {"task": str(name), "options": {"task_id": str(id), **options}} if (
            _is_name(name) and _is_name(id)
        ):
            group_id, queue = (
                jsonable(value) if _is_name(value) else None
                for value in (options.get("group_id"), options.get("queue"))
            )
            own_id, own_name = jsonable(id), jsonable(name)
            group_id = group_id or place.group_id
            follows = (place.parent_id, place.header_id)
            yield Step(own_id, own_name, *follows, group_id, queue)
            yield from _steps_after(options, own_id, group_id, depth + 1)


def _place_after(signature: Any, depth: int) -> _Place:
    """Return the place of the next step of a chain."""
    match signature:
        case {"task": "celery.group"}:
            return _Place(header_id=_id_of(signature))
        case {"task": "celery.chain", "kwargs": {"tasks": [*_, last]}}:
            return _place_after(last, depth + 1) if depth <= MAX_DEPTH else _Place()
        case {"task": "celery.chord", "kwargs": {"body": body}}:
            return _place_after(body, depth + 1) if depth <= MAX_DEPTH else _Place()
    return _Place(parent_id=_id_of(signature))


def _id_of(signature: Any) -> str | None:
    match signature:
        case {"options": {"task_id": str(id)}} if _is_name(id):
            return str(jsonable(id))
    return None


def _is_name(value: Any) -> bool:
    return isinstance(value, str) and 0 < len(value) <= MAX_NAME_LENGTH


def _as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []

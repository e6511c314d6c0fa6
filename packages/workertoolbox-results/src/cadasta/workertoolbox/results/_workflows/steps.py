"""Steps of a workflow that a task message announces.

A monitor stores them as planned, and a worker as not run if the task fails.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

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
        group_id: Id of the group that it is part of, if there is one.
        queue: The queue that it asks for, if it does.
    """

    id: str
    name: str
    parent_id: str | None
    group_id: str | None
    queue: str | None


def steps_after(embedded: Mapping[str, Any], *, task_id: str | None) -> Iterator[Step]:
    """Yield the steps that a task message announces.

    They are the rest of the chain, the body of the chord, and the callbacks, if they
    have an id. Error callbacks are left out, as they run only after a failure.

    Args:
        embedded: The third part of the message's body. Its keys `chain`, `chord` and
            `callbacks` contain signatures, as in Celery's protocol 2. Anything that is
            not a signature is skipped.
        task_id: Id of the task that the message is for.
    """
    return _steps_after(embedded, task_id, 0)


def _steps_after(
    options: Mapping[Any, Any], task_id: str | None, depth: int
) -> Iterator[Step]:
    """Yield the steps after a task.

    Args:
        options: The embedded part of a message or the options of a signature. Both have
            the same keys, except that callbacks are called `link` in a signature.
    """
    # Celery stores a chain in reverse order.
    chain = reversed(_as_list(options.get("chain")))
    yield from _steps_of_chain(chain, task_id, depth)
    yield from _steps_of(options.get("chord"), None, depth)
    for key in ("callbacks", "link"):
        for signature in _as_list(options.get(key)):
            yield from _steps_of(signature, task_id, depth)


def _steps_of_chain(
    signatures: Iterable[Any], parent_id: str | None, depth: int
) -> Iterator[Step]:
    for signature in signatures:
        yield from _steps_of(signature, parent_id, depth)
        parent_id = _last_id(signature, depth)


def _steps_of(signature: Any, parent_id: str | None, depth: int) -> Iterator[Step]:
    if depth > MAX_DEPTH:
        return
    match signature:
        case [*members] | {"task": "celery.group", "kwargs": {"tasks": [*members]}}:
            for member in members:
                yield from _steps_of(member, parent_id, depth + 1)
        case {"task": "celery.chain", "kwargs": {"tasks": [*members]}}:
            yield from _steps_of_chain(members, parent_id, depth + 1)
        case {"task": "celery.chord", "kwargs": {"header": header, "body": body}}:
            yield from _steps_of(header, parent_id, depth + 1)
            yield from _steps_of(body, None, depth + 1)
        case {"task": str(name), "options": {"task_id": str(id), **options}} if (
            _is_name(name) and _is_name(id)
        ):
            group_id, queue = (
                jsonable(value) if _is_name(value) else None
                for value in (options.get("group_id"), options.get("queue"))
            )
            yield Step(jsonable(id), jsonable(name), parent_id, group_id, queue)
            yield from _steps_after(options, jsonable(id), depth + 1)


def _last_id(signature: Any, depth: int) -> str | None:
    """Return the id of the task that the next step of a chain follows.

    The id is None if the step follows several tasks, as after a group.
    """
    match signature:
        case {"task": "celery.group"}:
            return None
        case {"task": "celery.chain", "kwargs": {"tasks": [*_, last]}}:
            return _last_id(last, depth + 1) if depth <= MAX_DEPTH else None
        case {"task": "celery.chord", "kwargs": {"body": body}}:
            return _last_id(body, depth + 1) if depth <= MAX_DEPTH else None
        case {"options": {"task_id": str(id)}}:
            return str(jsonable(id))
    return None


def _is_name(value: Any) -> bool:
    return isinstance(value, str) and 0 < len(value) <= MAX_NAME_LENGTH


def _as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []

"""The steps of a workflow that a message says are still to come."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from typing import Any

from cadasta.workertoolbox.results._arguments.jsonable import (
    MAX_DEPTH,
    MAX_NAME_LENGTH,
    jsonable,
)
from cadasta.workertoolbox.results._monitor.records import Step

#: Most steps that are taken from one message: more than fit on a page, and few enough
#: that a message of many cannot hold the others up.
MAX_STEPS = 10_000


def planned_steps(embedded: Mapping[str, Any], *, task_id: str) -> tuple[Step, ...]:
    """Return the steps in the third part of a task message's body.

    They are the rest of its chain, the body of its chord, and its callbacks, as far as
    they have an id. What runs only after a failure is not planned.

    Args:
        embedded: As Celery's protocol 2 has it: `chain`, `chord` and `callbacks` are
            signatures. What has another shape is passed over.
        task_id: The task whose message it is.
    """
    if not any(embedded.get(key) for key in ("chain", "chord", "callbacks")):
        return ()
    return tuple(islice(_following(embedded, task_id, 0), MAX_STEPS))


def _following(
    options: Mapping[Any, Any], id: str | None, depth: int
) -> Iterator[Step]:
    """Yield what follows a task; a message and a signature's options say it alike."""
    yield from _chain(reversed(_list(options.get("chain"))), id, depth)
    yield from _steps(options.get("chord"), None, depth)
    for key in ("callbacks", "link"):
        for signature in _list(options.get(key)):
            yield from _steps(signature, id, depth)


def _chain(signatures: Iterable[Any], after: str | None, depth: int) -> Iterator[Step]:
    for signature in signatures:
        yield from _steps(signature, after, depth)
        after = _last(signature, depth)


def _steps(signature: Any, after: str | None, depth: int) -> Iterator[Step]:
    if depth > MAX_DEPTH:
        return
    match signature:
        case [*members] | {"task": "celery.group", "kwargs": {"tasks": [*members]}}:
            for member in members:
                yield from _steps(member, after, depth + 1)
        case {"task": "celery.chain", "kwargs": {"tasks": [*members]}}:
            yield from _chain(members, after, depth + 1)
        case {"task": "celery.chord", "kwargs": {"header": header, "body": body}}:
            yield from _steps(header, after, depth + 1)
            yield from _steps(body, None, depth + 1)
        case {"task": str(name), "options": {"task_id": str(id), **options}} if (
            0 < len(name) <= MAX_NAME_LENGTH and 0 < len(id) <= MAX_NAME_LENGTH
        ):
            yield Step(jsonable(id), jsonable(name), after)
            yield from _following(options, jsonable(id), depth + 1)


def _last(signature: Any, depth: int) -> str | None:
    """Return the id of the one task after which a chain goes on."""
    match signature:
        case {"task": "celery.group"}:
            return None
        case {"task": "celery.chain", "kwargs": {"tasks": [*_, last]}}:
            return _last(last, depth + 1) if depth <= MAX_DEPTH else None
        case {"task": "celery.chord", "kwargs": {"body": body}}:
            return _last(body, depth + 1) if depth <= MAX_DEPTH else None
        case {"options": {"task_id": str(id)}}:
            return str(jsonable(id))
    return None


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []

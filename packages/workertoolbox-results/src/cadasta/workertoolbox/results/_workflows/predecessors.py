"""Which step holds up a planned one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from celery import states
from sqlalchemy import Connection, select

from cadasta.workertoolbox.results._database.statuses import (
    ENDED,
    PLANNED,
    QUEUED,
    SCHEDULED,
)
from cadasta.workertoolbox.results._database.tables import planned
from cadasta.workertoolbox.results._workflows.members import MAX_KEYS, find_groups

#: The order in which the unfinished tasks of a header are said to hold up its body: a
#: task that is furthest from its end comes first. Ends other than a success come before
#: all of these, custom states count as running, and successes are last.
_FURTHEST_FIRST = (PLANNED, SCHEDULED, QUEUED, states.RETRY)


@dataclass(frozen=True, slots=True)
class Predecessors:
    """The tasks that a planned step follows.

    Attributes:
        ids: The task, or the known tasks of the chord's header, sorted; empty if no
            message says what the step follows.
        header_id: Id of the group that is the header; None if the step follows a task.
    """

    ids: Sequence[str] = ()
    header_id: str | None = None


def find_predecessors(
    connection: Connection, ids: Sequence[str]
) -> Mapping[str, Predecessors]:
    """Return what steps follow, by their ids.

    Tasks that no message has announced, or that are archived, are left out.
    """
    rows = [*_read_planned(connection, ids)]
    headers = sorted({header_id for *_, header_id in rows if header_id is not None})
    members = find_groups(connection, headers)
    followers = _find_followers(connection, headers)
    found = {}
    for id, parent_id, header_id in rows:
        if header_id is not None:
            known = {*members.get(header_id, ())} - followers
            found[id] = Predecessors(sorted(known), header_id)
        elif parent_id is not None and parent_id != id:
            found[id] = Predecessors([parent_id])
        else:
            found[id] = Predecessors()
    return found


def find_headers(connection: Connection, ids: Sequence[str]) -> Mapping[str, str]:
    """Return the header that steps follow, by the ids of those that follow one."""
    rows = _read_planned(connection, ids)
    return {id: header_id for id, _, header_id in rows if header_id is not None}


def find_holder(
    id: str,
    *,
    before: Callable[[str], Predecessors],
    statuses: Callable[[Sequence[str]], Mapping[str, str]],
) -> Sequence[str]:
    """Return the steps from a planned one back to the one that holds it up.

    The last one is that step: it is published and has not ended, or has ended without
    a success. It is a success if all tasks before the next step have succeeded, so that
    only the message of the next step is missing. It is planned if nothing says what it
    waits for.

    Args:
        id: A planned step, which is the first in the result.
        before: Returns what a step follows.
        statuses: Returns the statuses of tasks by id. Unknown tasks are left out.
    """
    path = [id]
    is_planned = True
    while is_planned:
        known = statuses([each for each in before(path[-1]).ids if each not in path])
        if not known:
            break
        path.append(min(known, key=lambda each: (_rank(known[each]), each)))
        is_planned = known[path[-1]] == PLANNED
    return path


def _rank(status: str) -> int:
    if status == states.SUCCESS:
        return len(_FURTHEST_FIRST) + 1
    if status in ENDED:
        return -1
    known = status in _FURTHEST_FIRST
    return _FURTHEST_FIRST.index(status) if known else len(_FURTHEST_FIRST)


def _find_followers(connection: Connection, headers: Sequence[str]) -> set[str]:
    """Return the steps that follow headers.

    Celery counts the body of a chord in the group that is its header.
    """
    found: set[str] = set()
    for start in range(0, len(headers), MAX_KEYS):
        some = headers[start : start + MAX_KEYS]
        query = select(planned.c.id).where(planned.c.header_id.in_(some))
        found.update(connection.scalars(query))
    return found


def _read_planned(
    connection: Connection, ids: Iterable[str]
) -> Iterator[tuple[str, str | None, str | None]]:
    """Yield the id, the parent and the header of announced steps."""
    columns = planned.c
    query = select(columns.id, columns.parent_id, columns.header_id)
    wanted = [*ids]
    for start in range(0, len(wanted), MAX_KEYS):
        some = wanted[start : start + MAX_KEYS]
        rows = connection.execute(query.where(columns.id.in_(some)))
        yield from (tuple(row) for row in rows)

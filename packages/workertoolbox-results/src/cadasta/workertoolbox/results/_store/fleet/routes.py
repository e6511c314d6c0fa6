"""Who sends which task to which queue, and which workers run it."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache, partial
from itertools import starmap
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Connection, Select, select

from cadasta.workertoolbox.results._database.tables import history, task, taskmeta
from cadasta.workertoolbox.results._database.types import FIRST
from cadasta.workertoolbox.results._json_record import JsonRecord
from cadasta.workertoolbox.results._store.rows.day_windows import on_days_since
from cadasta.workertoolbox.results._store.rows.latest_rows import (
    group_latest,
    latest_with,
)
from cadasta.workertoolbox.results._store.search.known_values import known_names
from cadasta.workertoolbox.results._task import INTERNAL

#: Number of latest tasks of each name that are read: of live ones, and of ended ones.
TASKS_PER_NAME = 50

#: Maximum number of names.
MAX_NAMES = 500

#: The letters and digits of the random parts of names in Kubernetes.
_RANDOM = "[bcdfghjklmnpqrstvwxz2456789]"

#: The end of the name of a pod: that of a deployment, or the number in a stateful set.
_POD = re.compile(rf"-{_RANDOM}{{6,10}}-{_RANDOM}{{5}}$|-\d+$")


@dataclass(frozen=True, slots=True, kw_only=True)
class Route(JsonRecord):
    """A sender of tasks with a name to a queue, and the workers that run them.

    Hosts whose names differ only in the random end or the number of a Kubernetes pod
    are one, such as `export-*`.

    Attributes:
        sender: The service that publishes, or its host if messages do not name a
            service; None if no monitor has seen a message of the tasks.
        name: Name of the tasks.
        queue: Their queue.
        workers: The workers that have run such tasks; empty if none has.
        tasks: Number of these tasks among the latest of their name: fifty that have
            ended, and fifty live ones.
        last_at: When the latest of them was published.
    """

    sender: str | None
    name: str
    queue: str
    workers: Sequence[str]
    tasks: int
    last_at: datetime


@dataclass
class _Found:
    """What is known of the tasks of a sender, a name and a queue."""

    tasks: int = 0
    last_at: datetime | None = None
    workers: set[str] = field(default_factory=set)


class _Sent(NamedTuple):
    """Some of the latest tasks with a name, which differ in their times only."""

    name: str
    service: str | None
    origin: str | None
    queue: str | None
    worker: str | None
    tasks: int
    last_at: datetime


def read_routes(
    connection: Connection, *, since: datetime, internal: bool
) -> Sequence[Route]:
    """Return who sends which task where, by sender, name and queue."""
    names = known_names(connection, since)
    found: defaultdict[tuple[str, str, str], _Found] = defaultdict(_Found)
    wanted = [name for name in names if internal or not name.startswith(INTERNAL)]
    for select_latest, first in (
        (partial(_select_ended, since=since), since),
        (_select_live, FIRST),
    ):
        rows = group_latest(connection, wanted[:MAX_NAMES], select_latest, since=first)
        for each in starmap(_Sent, rows):
            route = found[_sender(each), each.name, each.queue or ""]
            route.tasks += each.tasks
            route.last_at = max(each.last_at, route.last_at or each.last_at)
            if each.worker is not None:
                route.workers.add(host_family(each.worker))
    return [
        Route(
            sender=sender or None,
            name=name,
            queue=queue,
            workers=sorted(route.workers),
            tasks=route.tasks,
            last_at=route.last_at,
        )
        for (sender, name, queue), route in sorted(found.items())
        if route.last_at is not None
    ]


@lru_cache(maxsize=4096)
def host_family(host: str) -> str:
    """Return the name of a host, or `export-*` for a pod of the deployment `export`."""
    return _POD.sub("-*", host)


def _sender(sent: _Sent) -> str:
    """Return the service, or else the host in an origin such as `gen17@host`."""
    return sent.service or host_family((sent.origin or "").rpartition("@")[2])


def _select_ended(name: ColumnElement[str], since: datetime) -> Select[Any]:
    columns = history.c
    query = select(
        *(columns.service, columns.origin, columns.queue),
        *(columns.worker, columns.listed_at),
    ).where(
        on_days_since(since),
        columns.not_run.is_(None),  # Nobody has sent these.
    )
    return latest_with(query, columns.name, name, columns.listed_at, TASKS_PER_NAME)


def _select_live(name: ColumnElement[str]) -> Select[Any]:
    worker = select(taskmeta.c.worker).where(taskmeta.c.task_id == task.c.id)
    query = select(
        *(task.c.service, task.c.origin, task.c.queue),
        *(worker.scalar_subquery().label("worker"), task.c.scheduled_at),
    )
    return latest_with(query, task.c.name, name, task.c.scheduled_at, TASKS_PER_NAME)

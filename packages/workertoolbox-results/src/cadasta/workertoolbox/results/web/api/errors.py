"""`/errors`: groups of errors."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Annotated

from cadasta.workertoolbox.results._store.errors.groups import STATES, ErrorGroup
from cadasta.workertoolbox.results._store.errors.names import (
    COUNTED_DAYS,
    CountedErrorGroup,
)
from cadasta.workertoolbox.results._store.store import TaskStore
from cadasta.workertoolbox.results.web.api.endpoints import Endpoint
from cadasta.workertoolbox.results.web.api.parameters import (
    Choice,
    Id,
    Instant,
    Limit,
    Name,
)


def groups(
    store: TaskStore,
    *,
    state: Annotated[str | None, Choice(STATES)] = None,
    since: Instant = None,
    name: Name = None,
    limit: Limit = 50,
) -> Sequence[ErrorGroup]:
    """Return groups of errors, the one with the latest error first.

    Args:
        state: Only groups in this state.
        since: Only groups with an error since then.
        name: Only groups with errors of tasks of this name.
        limit: Maximum number of groups.
    """
    return store.error_groups(state=state, since=since, name=name, limit=limit)


def group(store: TaskStore, *, id: Id) -> CountedErrorGroup:
    """Return a group of errors, with the number of its errors by name of the task.

    Args:
        id: The key of the group.
    """
    found = store.error_group(id)
    since = datetime.now(UTC) - timedelta(days=COUNTED_DAYS)
    names = store.stats(since=since, by="name", error_group=id, internal=True)
    return CountedErrorGroup.of(found, names)


ENDPOINTS = (Endpoint("/errors", groups), Endpoint("/errors/{id}", group))

"""The versions of services that were seen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from sqlalchemy import select

from cadasta.workertoolbox.results._database.tables import release
from cadasta.workertoolbox.results._json_record import JsonRecord
from cadasta.workertoolbox.results._store.open_database import OpenDatabase

#: Days that `releases` looks back.
DEFAULT_DAYS = 30


@dataclass(frozen=True, slots=True, kw_only=True)
class Release(JsonRecord):
    """A version of a service.

    Attributes:
        service: The name of its app, `app.main`; None if the app has no name.
        version: Its setting `SERVICE_VERSION`.
        first_at: When a worker of this version started, or a message of it was
            published, for the first time.
    """

    service: str | None
    version: str
    first_at: datetime


class Releases(OpenDatabase):
    """The method of `TaskStore` about the versions of services."""

    def releases(
        self,
        *,
        since: datetime | None = None,
        until: datetime | None = None,
        limit: int = 100,
    ) -> Sequence[Release]:
        """Return the versions of services that appeared in a window, newest first.

        A version appears once: a rollback to one that was seen before does not count.
        Services without `SERVICE_VERSION` are not known.

        Example:
            What was deployed in the last two hours::

                since = datetime.now(UTC) - timedelta(hours=2)
                [(each.service, each.version) for each in store.releases(since=since)]

        Args:
            since: The start of the window; None for 30 days ago.
            until: Its end; None for the present.
            limit: Maximum number of versions, the newest ones.

        Raises:
            DatabaseUnavailable: The database cannot be reached or refuses the query.
        """
        columns = release.c
        since = since or datetime.now(UTC) - timedelta(days=DEFAULT_DAYS)
        query = (
            select(release)
            .where(columns.first_at >= since)
            .order_by(columns.first_at.desc(), columns.service, columns.version)
            .limit(limit)
        )
        if until is not None:
            query = query.where(columns.first_at < until)
        with self._snapshot() as connection:
            rows = connection.execute(query).mappings().all()
        return [Release(**{**row, "service": row["service"] or None}) for row in rows]

"""Writing of the versions of services that messages name.

The order of messages does not change a row: it keeps the earliest publication.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime

from sqlalchemy import Connection

from cadasta.workertoolbox.results._database.engine import insert_into
from cadasta.workertoolbox.results._database.tables import release
from cadasta.workertoolbox.results._monitor.records import Record, TaskRecord

#: Maximum number of versions that a monitor remembers, because anybody who can publish
#: can invent some.
MAX_KNOWN = 1000

#: The time of the first message of each service and version.
Releases = Mapping[tuple[str, str], datetime]


class KnownReleases:
    """The versions of services that a monitor has written, so that each costs once."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, str], datetime] = {}

    def new(self, records: Iterable[Record]) -> Releases:
        """Return the versions in messages that are new, or older than was known."""
        found: dict[tuple[str, str], datetime] = {}
        for record in records:
            if isinstance(record, TaskRecord) and record.version:
                key, at = (record.service or "", record.version), record.scheduled_at
                known_at = self._known.get(key)
                if known_at is None or at < known_at:
                    found[key] = min(found.get(key, at), at)
        return found

    def add(self, releases: Releases) -> None:
        """Remember versions, after the commit that wrote them."""
        self._known |= releases
        if len(self._known) > MAX_KNOWN:
            self._known.clear()


def write_releases(connection: Connection, releases: Releases) -> None:
    """Write versions, and when the first message of each was published."""
    if not releases:
        return
    insert = insert_into(release, connection.dialect.name)
    first_at = insert.excluded.first_at
    upsert = insert.on_conflict_do_update(
        index_elements=[release.c.service, release.c.version],
        set_={"first_at": first_at},
        where=first_at < release.c.first_at,
    )
    # All monitors lock rows in the same order, so that they cannot deadlock.
    rows = [
        {"service": service, "version": version, "first_at": at}
        for (service, version), at in sorted(releases.items())
    ]
    connection.execute(upsert, rows)

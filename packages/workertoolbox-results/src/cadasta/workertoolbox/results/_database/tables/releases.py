"""The table of the versions of services, which workers and monitors write."""

from __future__ import annotations

from sqlalchemy import Column, Table, Text

from cadasta.workertoolbox.results._database.tables.table_parts import metadata
from cadasta.workertoolbox.results._database.types import Instant

#: A row per service and version. Rows are never deleted: the version would look like a
#: new one when its next worker starts.
release = Table(
    "workertoolbox_release",
    metadata,
    # The name of the app, or an empty text.
    Column("service", Text, primary_key=True),
    Column("version", Text, primary_key=True),
    # When a worker of it started, or a message of it was published, for the first time.
    Column("first_at", Instant, nullable=False, index=True),
)

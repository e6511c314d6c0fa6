"""Run by alembic; `_schema` hands over the connection."""

from __future__ import annotations

from alembic import context

from cadasta.workertoolbox.results._database.schema import VERSION_TABLE
from cadasta.workertoolbox.results._database.tables import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    version_table=VERSION_TABLE,
    transactional_ddl=True,
)
with context.begin_transaction():
    context.run_migrations()

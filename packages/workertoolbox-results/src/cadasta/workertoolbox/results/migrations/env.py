"""Run the migrations over the connection that `upgrade` passes in.

Alembic executes this file.
"""

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

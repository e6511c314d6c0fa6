"""Run the migrations over the connection that `upgrade` passes in.

Alembic executes this file.
"""

from __future__ import annotations

from alembic import context

from cadasta.workertoolbox.results._database.schema import VERSION_TABLE
from cadasta.workertoolbox.results._database.tables import metadata

connection = context.config.attributes["connection"]
context.configure(
    connection=connection,
    target_metadata=metadata,
    version_table=VERSION_TABLE,
    transactional_ddl=True,
    # Locks are held, and work is lost if one is not to be had, for one revision only.
    transaction_per_migration=connection.dialect.name == "postgresql",
)
with context.begin_transaction():
    context.run_migrations()

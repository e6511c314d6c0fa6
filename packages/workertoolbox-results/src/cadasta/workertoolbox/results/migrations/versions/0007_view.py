"""Let conditions on the view use the indexes of its tables.

This changed the view only, whose definition a later migration replaces.

Before deployment.
"""

from __future__ import annotations

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Do nothing: migration 0026 creates the view with its current definition."""


def downgrade() -> None:
    raise NotImplementedError("a query for one id would read all tasks again")

"""Search the history by windows of days, so that a search locks few tables.

The functions need a column of 0024, which creates them.

Before deployment.
"""

from __future__ import annotations

revision = "0021"
down_revision = "0020"
branch_labels = None
depends_on = None


def upgrade() -> None:
    pass


def downgrade() -> None:
    raise NotImplementedError("the functions of the history belong to the newest code")

"""Store which task of a header starts the body of its chord.

Before deployment.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0039"
down_revision = "0038"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("workertoolbox_chord", sa.Column("starter_id", sa.Text))


def downgrade() -> None:
    op.drop_column("workertoolbox_chord", "starter_id")

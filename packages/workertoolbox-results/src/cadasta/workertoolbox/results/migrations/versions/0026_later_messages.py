"""Show an ended task without the time and the sender of a later message.

Before deployment.
"""

from __future__ import annotations

from alembic import op

from cadasta.workertoolbox.results._database import view

revision = "0026"
down_revision = "0025"
branch_labels = None
depends_on = None


def upgrade() -> None:
    view.create_views(op.get_bind())


def downgrade() -> None:
    """Leave the views, whose columns are those of the earlier revision."""

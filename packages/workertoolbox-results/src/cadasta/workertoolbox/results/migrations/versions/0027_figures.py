"""Create the views and functions with which people query figures in SQL.

Before deployment.
"""

from __future__ import annotations

from alembic import op

from cadasta.workertoolbox.results._database import view
from cadasta.workertoolbox.results._database.grants import extend_grants

revision = "0027"
down_revision = "0026"
branch_labels = None
depends_on = None

VIEWS = (
    "workertoolbox_figures",
    "workertoolbox_queues",
    "workertoolbox_error_groups",
    "workertoolbox_schedules",
)

#: A view, a privilege on it, and a grant for the roles that hold it: readers.
GRANTS = (
    (
        "workertoolbox_tasks",
        "SELECT",
        f"GRANT SELECT ON {', '.join(VIEWS)} TO {{role}}",
    ),
)


def upgrade() -> None:
    view.execute_file(op.get_bind(), "figures")
    extend_grants(op.get_bind(), GRANTS)


def downgrade() -> None:
    if op.get_bind().dialect.name == "postgresql":
        for function in (
            "FUNCTION workertoolbox_percentile",
            "AGGREGATE workertoolbox_sum(text)",
            "FUNCTION workertoolbox_add_histograms",
            "FUNCTION workertoolbox_tier",
            "FUNCTION workertoolbox_figures_between",
            "FUNCTION workertoolbox_intervals",
        ):
            op.execute(f"DROP {function}")
    for name in VIEWS:
        op.execute(f"DROP VIEW {name}")

"""The tables of the results database, as the migrations create them."""

from cadasta.workertoolbox.results._database.tables.archived_tasks import (
    IS_SMALL,
    IS_UNTRACKED,
    IS_UNUSUAL,
    LONG_S,
    RUN,
    day_value,
    history,
    retention,
)
from cadasta.workertoolbox.results._database.tables.celery_results import (
    IS_OPEN,
    IS_UNARCHIVED,
    taskmeta,
    tasksetmeta,
)
from cadasta.workertoolbox.results._database.tables.chords import chord, chord_part
from cadasta.workertoolbox.results._database.tables.figures import (
    HAS_GROUP,
    backlog,
    error_group,
    rollup,
)
from cadasta.workertoolbox.results._database.tables.live_tasks import (
    attempt,
    planned,
    task,
)
from cadasta.workertoolbox.results._database.tables.monitors import monitor, quarantine
from cadasta.workertoolbox.results._database.tables.operations import (
    CHANGES_ERRORS,
    operation,
    operation_task,
)
from cadasta.workertoolbox.results._database.tables.releases import release
from cadasta.workertoolbox.results._database.tables.schedules import schedule
from cadasta.workertoolbox.results._database.tables.table_parts import (
    NAME_LENGTH,
    metadata,
)

__all__ = [
    "CHANGES_ERRORS",
    "HAS_GROUP",
    "IS_OPEN",
    "IS_SMALL",
    "IS_UNARCHIVED",
    "IS_UNTRACKED",
    "IS_UNUSUAL",
    "LONG_S",
    "NAME_LENGTH",
    "RUN",
    "attempt",
    "backlog",
    "chord",
    "chord_part",
    "day_value",
    "error_group",
    "history",
    "metadata",
    "monitor",
    "operation",
    "operation_task",
    "planned",
    "quarantine",
    "release",
    "retention",
    "rollup",
    "schedule",
    "task",
    "taskmeta",
    "tasksetmeta",
]

"""What became of every task: result backend, task monitor, tables and queries.

from cadasta.workertoolbox.results import TaskStore

with TaskStore("workertoolbox+postgresql+psycopg2://reader@db/workers") as store:
    for task in store.list(status="FAILURE"):
        print(task.id, task.name, task.result)
"""

from cadasta.workertoolbox.results._arguments.redaction import Redaction
from cadasta.workertoolbox.results._database.engine import database_url, open_engine
from cadasta.workertoolbox.results._database.privileges import (
    ROLE_PRIVILEGES,
    HeldPrivileges,
    Privilege,
    compare_privileges,
)
from cadasta.workertoolbox.results._database.schema import check_schema
from cadasta.workertoolbox.results._database.upgrade import upgrade
from cadasta.workertoolbox.results._database.url import (
    RESULT_BACKEND,
    render_text,
    render_url,
)
from cadasta.workertoolbox.results._durations import DURATION_FORM, parse_duration
from cadasta.workertoolbox.results._errors import (
    BrokerUnavailable,
    DatabaseUnavailable,
    InvalidLimit,
    InvalidRedaction,
    InvalidTemplate,
    InvalidURL,
    MetricsUnavailable,
    MonitorQueueUnknown,
    NotInQuarantine,
    PickledResult,
    ResultsError,
    SchemaOutdated,
    TaskNotFound,
    UnknownStatus,
)
from cadasta.workertoolbox.results._headers import PROBE
from cadasta.workertoolbox.results._monitor.consumer import Monitor
from cadasta.workertoolbox.results._monitor.throughput import CommittedBatch
from cadasta.workertoolbox.results._store.recent import NewestTask, RecentCounts
from cadasta.workertoolbox.results._store.store import TaskStore
from cadasta.workertoolbox.results._store.task import Task

__all__ = [
    "BrokerUnavailable",
    "CommittedBatch",
    "DURATION_FORM",
    "DatabaseUnavailable",
    "HeldPrivileges",
    "InvalidLimit",
    "InvalidRedaction",
    "InvalidTemplate",
    "InvalidURL",
    "MetricsUnavailable",
    "Monitor",
    "MonitorQueueUnknown",
    "NewestTask",
    "NotInQuarantine",
    "PROBE",
    "PickledResult",
    "Privilege",
    "RESULT_BACKEND",
    "ROLE_PRIVILEGES",
    "RecentCounts",
    "Redaction",
    "ResultsError",
    "SchemaOutdated",
    "Task",
    "TaskNotFound",
    "TaskStore",
    "UnknownStatus",
    "check_schema",
    "compare_privileges",
    "database_url",
    "open_engine",
    "parse_duration",
    "render_text",
    "render_url",
    "upgrade",
]

"""What became of every task: result backend, task monitor, tables and queries.

from cadasta.workertoolbox.results import TaskStore

with TaskStore("workertoolbox+postgresql+psycopg2://reader@db/workers") as store:
    for task in store.list(status="FAILURE"):
        print(task.id, task.name, task.result)
"""

from cadasta.workertoolbox.results._engine import database_url, open_engine
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
from cadasta.workertoolbox.results._meter import CommittedBatch
from cadasta.workertoolbox.results._monitor import Monitor
from cadasta.workertoolbox.results._probe import PROBE
from cadasta.workertoolbox.results._recent import Recent, count_recent
from cadasta.workertoolbox.results._redaction import Redaction
from cadasta.workertoolbox.results._schema import check_schema, upgrade
from cadasta.workertoolbox.results._store import TaskStore
from cadasta.workertoolbox.results._task import Task
from cadasta.workertoolbox.results._template import (
    RESULT_BACKEND,
    render_text,
    render_url,
)

__all__ = [
    "BrokerUnavailable",
    "CommittedBatch",
    "DatabaseUnavailable",
    "InvalidLimit",
    "InvalidRedaction",
    "InvalidTemplate",
    "InvalidURL",
    "MetricsUnavailable",
    "Monitor",
    "MonitorQueueUnknown",
    "NotInQuarantine",
    "PROBE",
    "PickledResult",
    "RESULT_BACKEND",
    "Recent",
    "Redaction",
    "ResultsError",
    "SchemaOutdated",
    "Task",
    "TaskNotFound",
    "TaskStore",
    "UnknownStatus",
    "check_schema",
    "count_recent",
    "database_url",
    "open_engine",
    "render_text",
    "render_url",
    "upgrade",
]

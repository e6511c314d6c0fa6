"""Result backend, task monitor, and queries for the history of Celery tasks.

from cadasta.workertoolbox.results import TaskStore

with TaskStore("workertoolbox+postgresql+psycopg2://reader@db/workers") as store:
    for task in store.list(status="FAILURE"):
        print(task.id, task.name, task.result)
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from cadasta.workertoolbox.results._arguments.redaction import Redaction
from cadasta.workertoolbox.results._database.url import (
    RESULT_BACKEND,
    render_text,
    render_url,
    tasks_database,
)
from cadasta.workertoolbox.results._durations import DURATION_FORM, parse_duration
from cadasta.workertoolbox.results._errors import (
    BrokerUnavailable,
    DatabaseUnavailable,
    ErrorGroupNotFound,
    FileLimitReached,
    InvalidDuration,
    InvalidGrouping,
    InvalidLimit,
    InvalidRate,
    InvalidRedaction,
    InvalidRetention,
    InvalidTemplate,
    InvalidURL,
    InvalidWindow,
    MetricsUnavailable,
    MonitorQueueUnknown,
    NotInQuarantine,
    OperationNotFound,
    PickledResult,
    ResultNotStorable,
    ResultsError,
    ResultTooLarge,
    ScheduleNotFound,
    SchemaOutdated,
    StillPublishing,
    TaskNotFound,
    UnknownErrorState,
    UnknownStatus,
    UnknownValue,
    UnreadMessages,
    UnsupportedServer,
    UnsupportedSetting,
    UpgradeUnfinished,
    WebUnavailable,
)
from cadasta.workertoolbox.results._headers import PROBE
from cadasta.workertoolbox.results._history.retention import Retention
from cadasta.workertoolbox.results._query_errors import (
    InvalidPage,
    InvalidQuery,
    InvalidTime,
    QueryTimeout,
)

if TYPE_CHECKING:
    from cadasta.workertoolbox.results._database.engine import database_url, open_engine
    from cadasta.workertoolbox.results._database.lock_use import LockUse, read_lock_use
    from cadasta.workertoolbox.results._database.privileges import (
        ROLE_PRIVILEGES,
        HeldPrivileges,
        Privilege,
        compare_privileges,
    )
    from cadasta.workertoolbox.results._database.result_ids import (
        ResultIds,
        read_result_ids,
    )
    from cadasta.workertoolbox.results._database.schema import check_schema
    from cadasta.workertoolbox.results._database.upgrade import upgrade
    from cadasta.workertoolbox.results._history.days import DaySize
    from cadasta.workertoolbox.results._monitor.consumer import Monitor
    from cadasta.workertoolbox.results._monitor.throughput import CommittedBatch
    from cadasta.workertoolbox.results._reruns.plan import (
        PlannedRerun,
        RerunPlan,
        plan_rerun,
    )
    from cadasta.workertoolbox.results._reruns.publishing import (
        begin_rerun,
        rerun,
        resume_rerun,
    )
    from cadasta.workertoolbox.results._reruns.steps import plan_failed_steps
    from cadasta.workertoolbox.results._store.errors.groups import ErrorGroup
    from cadasta.workertoolbox.results._store.figures.completeness import Completeness
    from cadasta.workertoolbox.results._store.figures.newest_task import NewestTask
    from cadasta.workertoolbox.results._store.figures.queues import QueueBacklog
    from cadasta.workertoolbox.results._store.figures.releases import Release
    from cadasta.workertoolbox.results._store.figures.rollup_sums import Percentiles
    from cadasta.workertoolbox.results._store.figures.rollups import (
        BacklogSample,
        TaskFigures,
    )
    from cadasta.workertoolbox.results._store.figures.stats import (
        Stats,
        StatsRow,
        StatsTable,
    )
    from cadasta.workertoolbox.results._store.fleet.routes import Route
    from cadasta.workertoolbox.results._store.fleet.workers import RunningTask, Worker
    from cadasta.workertoolbox.results._store.operations.journal import (
        Operation,
        OperationTask,
    )
    from cadasta.workertoolbox.results._store.schedules.entries import LastRun, Schedule
    from cadasta.workertoolbox.results._store.schedules.runs import ScheduledRun
    from cadasta.workertoolbox.results._store.search.page_tokens import Page
    from cadasta.workertoolbox.results._store.search.unusual import UnusualTask
    from cadasta.workertoolbox.results._store.store import TaskStore
    from cadasta.workertoolbox.results._store.tasks.attempts import Attempt
    from cadasta.workertoolbox.results._store.upkeep.health import Health, MonitorReport
    from cadasta.workertoolbox.results._store.upkeep.quarantine import (
        QuarantineEntry,
        QuarantineExcerpt,
    )
    from cadasta.workertoolbox.results._store.upkeep.retention import RetentionClass
    from cadasta.workertoolbox.results._store.upkeep.storage import Storage, TableSize
    from cadasta.workertoolbox.results._store.why.reason import Cause, Reason
    from cadasta.workertoolbox.results._task import Task
    from cadasta.workertoolbox.results._workflows.workflow import (
        Holdup,
        PathStep,
        Workflow,
        WorkflowNode,
    )

__all__ = [
    "Attempt",
    "BacklogSample",
    "BrokerUnavailable",
    "Cause",
    "CommittedBatch",
    "Completeness",
    "DURATION_FORM",
    "DatabaseUnavailable",
    "DaySize",
    "ErrorGroup",
    "ErrorGroupNotFound",
    "FileLimitReached",
    "Health",
    "HeldPrivileges",
    "Holdup",
    "InvalidDuration",
    "InvalidGrouping",
    "InvalidLimit",
    "InvalidPage",
    "InvalidQuery",
    "InvalidRate",
    "InvalidRedaction",
    "InvalidRetention",
    "InvalidTemplate",
    "InvalidTime",
    "InvalidURL",
    "InvalidWindow",
    "LastRun",
    "LockUse",
    "MetricsUnavailable",
    "Monitor",
    "MonitorQueueUnknown",
    "MonitorReport",
    "NewestTask",
    "NotInQuarantine",
    "Operation",
    "OperationNotFound",
    "OperationTask",
    "PROBE",
    "Page",
    "PathStep",
    "Percentiles",
    "PickledResult",
    "PlannedRerun",
    "Privilege",
    "QuarantineEntry",
    "QuarantineExcerpt",
    "QueryTimeout",
    "QueueBacklog",
    "RESULT_BACKEND",
    "ROLE_PRIVILEGES",
    "Reason",
    "Redaction",
    "Release",
    "RerunPlan",
    "ResultIds",
    "ResultNotStorable",
    "ResultTooLarge",
    "ResultsError",
    "Retention",
    "RetentionClass",
    "Route",
    "RunningTask",
    "Schedule",
    "ScheduleNotFound",
    "ScheduledRun",
    "SchemaOutdated",
    "Stats",
    "StatsRow",
    "StatsTable",
    "StillPublishing",
    "Storage",
    "TableSize",
    "Task",
    "TaskFigures",
    "TaskNotFound",
    "TaskStore",
    "UnknownErrorState",
    "UnknownStatus",
    "UnknownValue",
    "UnreadMessages",
    "UnsupportedServer",
    "UnsupportedSetting",
    "UnusualTask",
    "UpgradeUnfinished",
    "WebUnavailable",
    "Worker",
    "Workflow",
    "WorkflowNode",
    "begin_rerun",
    "check_schema",
    "compare_privileges",
    "database_url",
    "open_engine",
    "parse_duration",
    "plan_failed_steps",
    "plan_rerun",
    "read_lock_use",
    "read_result_ids",
    "render_text",
    "render_url",
    "rerun",
    "resume_rerun",
    "tasks_database",
    "upgrade",
]

#: Names that are imported when they are first used, with their modules. These load
#: SQLAlchemy, alembic, the monitor and the queries, and every worker and every command
#: of Celery imports this package.
_LAZY = {
    "database_url": "_database.engine",
    "open_engine": "_database.engine",
    "Attempt": "_store.tasks.attempts",
    "Completeness": "_store.figures.completeness",
    "ErrorGroup": "_store.errors.groups",
    "BacklogSample": "_store.figures.rollups",
    "Operation": "_store.operations.journal",
    "OperationTask": "_store.operations.journal",
    "Page": "_store.search.page_tokens",
    "Percentiles": "_store.figures.rollup_sums",
    "TaskFigures": "_store.figures.rollups",
    "CommittedBatch": "_monitor.throughput",
    "HeldPrivileges": "_database.privileges",
    "Monitor": "_monitor.consumer",
    "Privilege": "_database.privileges",
    "ROLE_PRIVILEGES": "_database.privileges",
    "Cause": "_store.why.reason",
    "Reason": "_store.why.reason",
    "Release": "_store.figures.releases",
    "QueueBacklog": "_store.figures.queues",
    "Route": "_store.fleet.routes",
    "RunningTask": "_store.fleet.workers",
    "UnusualTask": "_store.search.unusual",
    "Worker": "_store.fleet.workers",
    "Holdup": "_workflows.workflow",
    "PathStep": "_workflows.workflow",
    "Workflow": "_workflows.workflow",
    "WorkflowNode": "_workflows.workflow",
    "Stats": "_store.figures.stats",
    "StatsRow": "_store.figures.stats",
    "StatsTable": "_store.figures.stats",
    "Task": "_task",
    "LastRun": "_store.schedules.entries",
    "Schedule": "_store.schedules.entries",
    "ScheduledRun": "_store.schedules.runs",
    "TaskStore": "_store.store",
    "LockUse": "_database.lock_use",
    "read_lock_use": "_database.lock_use",
    "ResultIds": "_database.result_ids",
    "check_schema": "_database.schema",
    "read_result_ids": "_database.result_ids",
    "compare_privileges": "_database.privileges",
    "NewestTask": "_store.figures.newest_task",
    "DaySize": "_history.days",
    "Health": "_store.upkeep.health",
    "MonitorReport": "_store.upkeep.health",
    "QuarantineEntry": "_store.upkeep.quarantine",
    "QuarantineExcerpt": "_store.upkeep.quarantine",
    "RetentionClass": "_store.upkeep.retention",
    "Storage": "_store.upkeep.storage",
    "TableSize": "_store.upkeep.storage",
    "PlannedRerun": "_reruns.plan",
    "RerunPlan": "_reruns.plan",
    "plan_failed_steps": "_reruns.steps",
    "plan_rerun": "_reruns.plan",
    "begin_rerun": "_reruns.publishing",
    "rerun": "_reruns.publishing",
    "resume_rerun": "_reruns.publishing",
    "upgrade": "_database.upgrade",
}


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_LAZY[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})

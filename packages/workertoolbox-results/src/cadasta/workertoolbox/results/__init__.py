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
    from cadasta.workertoolbox.results._store.attempts import Attempt
    from cadasta.workertoolbox.results._store.completeness import Completeness
    from cadasta.workertoolbox.results._store.error_groups import ErrorGroup
    from cadasta.workertoolbox.results._store.health import Health, MonitorReport
    from cadasta.workertoolbox.results._store.newest_task import NewestTask
    from cadasta.workertoolbox.results._store.operations import (
        Operation,
        OperationTask,
    )
    from cadasta.workertoolbox.results._store.page_tokens import Page
    from cadasta.workertoolbox.results._store.quarantine import (
        QuarantineEntry,
        QuarantineExcerpt,
    )
    from cadasta.workertoolbox.results._store.queues import QueueBacklog
    from cadasta.workertoolbox.results._store.reason import Cause, Reason
    from cadasta.workertoolbox.results._store.releases import Release
    from cadasta.workertoolbox.results._store.retention import RetentionClass
    from cadasta.workertoolbox.results._store.rollup_sums import Percentiles
    from cadasta.workertoolbox.results._store.rollups import BacklogSample, TaskFigures
    from cadasta.workertoolbox.results._store.routes import Route
    from cadasta.workertoolbox.results._store.schedule_runs import ScheduledRun
    from cadasta.workertoolbox.results._store.schedules import LastRun, Schedule
    from cadasta.workertoolbox.results._store.stats import Stats, StatsRow, StatsTable
    from cadasta.workertoolbox.results._store.storage import Storage, TableSize
    from cadasta.workertoolbox.results._store.store import TaskStore
    from cadasta.workertoolbox.results._store.unusual import UnusualTask
    from cadasta.workertoolbox.results._store.workers import RunningTask, Worker
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
    "Attempt": "_store.attempts",
    "Completeness": "_store.completeness",
    "ErrorGroup": "_store.error_groups",
    "BacklogSample": "_store.rollups",
    "Operation": "_store.operations",
    "OperationTask": "_store.operations",
    "Page": "_store.page_tokens",
    "Percentiles": "_store.rollup_sums",
    "TaskFigures": "_store.rollups",
    "CommittedBatch": "_monitor.throughput",
    "HeldPrivileges": "_database.privileges",
    "Monitor": "_monitor.consumer",
    "Privilege": "_database.privileges",
    "ROLE_PRIVILEGES": "_database.privileges",
    "Cause": "_store.reason",
    "Reason": "_store.reason",
    "Release": "_store.releases",
    "QueueBacklog": "_store.queues",
    "Route": "_store.routes",
    "RunningTask": "_store.workers",
    "UnusualTask": "_store.unusual",
    "Worker": "_store.workers",
    "Holdup": "_workflows.workflow",
    "PathStep": "_workflows.workflow",
    "Workflow": "_workflows.workflow",
    "WorkflowNode": "_workflows.workflow",
    "Stats": "_store.stats",
    "StatsRow": "_store.stats",
    "StatsTable": "_store.stats",
    "Task": "_task",
    "LastRun": "_store.schedules",
    "Schedule": "_store.schedules",
    "ScheduledRun": "_store.schedule_runs",
    "TaskStore": "_store.store",
    "LockUse": "_database.lock_use",
    "read_lock_use": "_database.lock_use",
    "ResultIds": "_database.result_ids",
    "check_schema": "_database.schema",
    "read_result_ids": "_database.result_ids",
    "compare_privileges": "_database.privileges",
    "NewestTask": "_store.newest_task",
    "DaySize": "_history.days",
    "Health": "_store.health",
    "MonitorReport": "_store.health",
    "QuarantineEntry": "_store.quarantine",
    "QuarantineExcerpt": "_store.quarantine",
    "RetentionClass": "_store.retention",
    "Storage": "_store.storage",
    "TableSize": "_store.storage",
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

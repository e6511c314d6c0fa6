"""What a user asks the database."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import assert_type

from celery import Celery
from starlette.applications import Starlette

from cadasta.workertoolbox.results import (
    DURATION_FORM,
    PROBE,
    RESULT_BACKEND,
    ROLE_PRIVILEGES,
    Attempt,
    BacklogSample,
    BrokerUnavailable,
    Cause,
    CommittedBatch,
    Completeness,
    DatabaseUnavailable,
    DaySize,
    ErrorGroup,
    ErrorGroupNotFound,
    FileLimitReached,
    Health,
    HeldPrivileges,
    Holdup,
    InvalidDuration,
    InvalidGrouping,
    InvalidLimit,
    InvalidPage,
    InvalidQuery,
    InvalidRate,
    InvalidRedaction,
    InvalidRetention,
    InvalidTemplate,
    InvalidTime,
    InvalidURL,
    InvalidWindow,
    LastRun,
    LockUse,
    MetricsUnavailable,
    Monitor,
    MonitorQueueUnknown,
    MonitorReport,
    NewestTask,
    NotInQuarantine,
    Operation,
    OperationNotFound,
    OperationTask,
    Page,
    PathStep,
    Percentiles,
    PickledResult,
    PlannedRerun,
    Privilege,
    QuarantineEntry,
    QuarantineExcerpt,
    QueryTimeout,
    QueueBacklog,
    Reason,
    Redaction,
    Release,
    RerunPlan,
    ResultIds,
    ResultNotStorable,
    ResultsError,
    ResultTooLarge,
    Retention,
    RetentionClass,
    Route,
    RunningTask,
    Schedule,
    ScheduledRun,
    ScheduleNotFound,
    SchemaOutdated,
    Stats,
    StatsRow,
    StatsTable,
    StillPublishing,
    Storage,
    TableSize,
    Task,
    TaskFigures,
    TaskNotFound,
    TaskStore,
    UnknownErrorState,
    UnknownStatus,
    UnknownValue,
    UnreadMessages,
    UnsupportedServer,
    UnsupportedSetting,
    UnusualTask,
    UpgradeUnfinished,
    WebUnavailable,
    Worker,
    Workflow,
    WorkflowNode,
    begin_rerun,
    check_schema,
    compare_privileges,
    database_url,
    open_engine,
    parse_duration,
    plan_failed_steps,
    plan_rerun,
    read_lock_use,
    read_result_ids,
    rerun,
    resume_rerun,
    tasks_database,
)
from cadasta.workertoolbox.results.web import (
    AppLogin,
    Operator,
    PasswordLogin,
    ProxyLogin,
    create_app,
)

URL = "workertoolbox+postgresql+psycopg2://reader@db/workers"
DAY = timedelta(days=1)


def ask_about_tasks(store: TaskStore, id: str) -> None:
    """Find tasks."""
    assert_type(store.get(id), Task)
    assert_type(store.find(id), Task | None)
    assert_type(store.list(status="FAILURE", limit=5), Sequence[Task])
    assert_type(store.stuck(DAY), Sequence[Task])
    assert_type(store.stuck_by_p99(), Sequence[UnusualTask])
    assert_type(store.attempts(id), Sequence[Attempt])
    assert_type(store.search("name:export.*"), Page)
    assert_type(store.search().tasks, Sequence[Task])
    for tasks in store.follow("status:FAILURE"):
        assert_type(tasks, Sequence[Task])
    assert_type(store.why(id), Reason)
    assert_type(store.why(id).cause, Cause)
    assert_type(store.workflow_of(id), Workflow)


def ask_about_the_fleet(store: TaskStore) -> None:
    """Read figures."""
    since = datetime.now(UTC) - DAY
    assert_type(store.figures(since=since), TaskFigures)
    assert_type(store.stats(since=since, by="name"), StatsTable)
    assert_type(store.backlog(), Sequence[QueueBacklog])
    assert_type(store.backlog_samples(since=since), Sequence[BacklogSample])
    assert_type(store.completeness(), Completeness)
    assert_type(store.newest_task(), NewestTask | None)
    assert_type(store.services(), Sequence[Route])
    assert_type(store.workers(), Sequence[Worker])
    assert_type(store.health(), Health)
    assert_type(store.schedules(), Sequence[Schedule])
    assert_type(store.error_groups(since=since), Sequence[ErrorGroup])
    assert_type(store.count_error_groups(), Mapping[str, int])
    assert_type(store.quarantined(), Sequence[QuarantineEntry])
    assert_type(store.operations(), Sequence[Operation])


def run_again(app: Celery, id: str) -> None:
    """Rerun tasks."""
    with TaskStore.for_app(app) as store:
        assert_type(plan_rerun(app, store, [id]), RerunPlan)
        plan = plan_failed_steps(app, store, id)
        operation = begin_rerun(store, plan, made_by="me")
        assert_type(resume_rerun(app, store, operation), Iterator[OperationTask])
        assert_type(rerun(app, store, [id], reason="fixed"), Iterator[OperationTask])


def run_monitor(app: Celery) -> None:
    """Run a monitor until it is stopped."""
    monitor = Monitor(app, batch_size=500)
    monitor.run()
    monitor.stop()


def check_database() -> None:
    """Look at the database itself."""
    engine = open_engine(database_url(URL))
    assert_type(check_schema(engine), str)
    assert_type(read_result_ids(engine), list[ResultIds])
    assert_type(read_lock_use(engine), LockUse | None)
    assert_type(parse_duration("90d"), float)
    with engine.connect() as connection:
        assert_type(compare_privileges(connection, ["reader"]), HeldPrivileges)


def make_pages(app: Celery, store: TaskStore) -> list[Starlette]:
    """Make web pages for each kind of login."""
    operator = Operator(app, rights=["rerun"])
    return [
        create_app(store, login=PasswordLogin("correct horse"), operator=operator),
        create_app(store, login=ProxyLogin("X-User", ["10.0.0.0/8"]), prefix="/tasks"),
        create_app(store, login=AppLogin(lambda request: request.headers["user"])),
    ]


WORDS: tuple[str, ...] = (DURATION_FORM, PROBE, RESULT_BACKEND, *ROLE_PRIVILEGES)

#: The database of an app that is tracked without the result backend.
DATABASE: str = tasks_database({"result_backend": "redis://"})

#: What the answers above are made of.
PARTS: tuple[type, ...] = (
    CommittedBatch,
    DaySize,
    Holdup,
    LastRun,
    MonitorReport,
    PathStep,
    Percentiles,
    PlannedRerun,
    Privilege,
    QuarantineExcerpt,
    Redaction,
    Release,
    Retention,
    RetentionClass,
    RunningTask,
    ScheduledRun,
    Stats,
    StatsRow,
    Storage,
    TableSize,
    UnreadMessages,
    WorkflowNode,
)

#: Each of them is a `ResultsError`.
ERRORS: tuple[type[ResultsError], ...] = (
    BrokerUnavailable,
    DatabaseUnavailable,
    ErrorGroupNotFound,
    FileLimitReached,
    InvalidDuration,
    InvalidGrouping,
    InvalidLimit,
    InvalidPage,
    InvalidQuery,
    InvalidRate,
    InvalidRedaction,
    InvalidRetention,
    InvalidTemplate,
    InvalidTime,
    InvalidURL,
    InvalidWindow,
    MetricsUnavailable,
    MonitorQueueUnknown,
    NotInQuarantine,
    OperationNotFound,
    PickledResult,
    QueryTimeout,
    ResultNotStorable,
    ResultTooLarge,
    ScheduleNotFound,
    SchemaOutdated,
    StillPublishing,
    TaskNotFound,
    UnknownErrorState,
    UnknownStatus,
    UnknownValue,
    UnsupportedServer,
    UnsupportedSetting,
    UpgradeUnfinished,
    WebUnavailable,
)

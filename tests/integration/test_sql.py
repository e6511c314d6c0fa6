"""The statements of docs/how-to/sql.md and docs/grafana.json, beside `TaskStore`."""

from __future__ import annotations

import json
import random
import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, create_engine, text
from sqlalchemy.exc import DBAPIError

from cadasta.workertoolbox.results import TaskStore
from cadasta.workertoolbox.results._database.types import FIRST
from cadasta.workertoolbox.results._history.histogram import Histogram
from cadasta.workertoolbox.results._history.tiers import (
    KEEP,
    interval_end,
    interval_start,
)
from cadasta.workertoolbox.results._store.errors.groups import STATES
from cadasta.workertoolbox.results._store.rows.windows import cover
from servers.postgresql import PostgreSQL
from support.brokers import result_backend_url
from support.documented_grants import documented_grants, granted_role
from support.documents import blocks
from support.figures_history import fill_database
from support.fresh_database import fresh_database
from support.grafana import expand

DOCS = Path(__file__).parents[2] / "docs"

PAGE = (DOCS / "how-to" / "sql.md").read_text("utf-8")

#: Number, whether it runs on SQLite too, and statement of each question.
QUESTIONS = {
    int(number): ("(SQLite)" in title, statement)
    for number, title, statement in re.findall(
        r"^### (\d+)\. (.*?)\n\n```sql\n(.*?)```", PAGE, re.DOTALL | re.MULTILINE
    )
}

#: The task of the last question.
DOCUMENTED_ID, ID = "0cf2a9a5-57d2-4a0e-9a3a-3f0c7f1d2b11", "id7"

#: The privileges of a dashboard, for a role `{role}`.
[DASHBOARD_GRANT] = (
    f"{grant} {{role}}"
    for grant in re.findall(r"```sql\n(GRANT.*? TO) dashboard;", PAGE, re.DOTALL)
)

NAMES_IN_SQL = re.compile(r"\b(?:workertoolbox|celery)_\w+")

MINUTE, DAY, WEEK = (timedelta(minutes=each) for each in (1, 24 * 60, 7 * 24 * 60))

Rows = Sequence[Sequence[Any]]


@pytest.fixture(scope="module", params=["postgresql", "sqlite"])
def url(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    """The URL of a database of each kind, with forty days of figures."""
    with fresh_database(request, tmp_path_factory.mktemp("sql")) as url:
        with TaskStore(result_backend_url(url)) as store:
            fill_database(store.engine)
        yield url


@pytest.fixture(scope="module")
def tasks(url: str) -> Iterator[TaskStore]:
    """The task store of the database."""
    with TaskStore(result_backend_url(url)) as store:
        yield store


@pytest.fixture(scope="module")
def readers(url: str) -> Iterator[Engine]:
    """An engine for the database, with the role `reader` where there are roles."""
    with ExitStack() as stack:
        if not url.startswith("sqlite"):
            grants = documented_grants("reader")
            url = stack.enter_context(granted_role(url, *grants))
        engine = create_engine(url)
        yield engine
        engine.dispose()


def fetch(engine: Engine, statement: str) -> Rows:
    """Return rows whose values are those that `TaskStore` returns."""
    with engine.connect() as connection:
        return [
            [_plain(value) for value in row]
            for row in connection.exec_driver_sql(
                statement, execution_options={"no_parameters": True}
            )
        ]


def _plain(value: Any) -> Any:
    if isinstance(value, Decimal):
        return float(value)
    if isinstance(value, str) and re.match(r"\d{4}-\d\d-\d\d ", value):
        return datetime.fromisoformat(value).replace(tzinfo=UTC)
    if isinstance(value, str) and value.startswith("{"):
        return json.loads(value)
    return value


def totals(
    store: TaskStore, window: timedelta, by: Any = "name", *, internal: bool = True
) -> Any:
    """Return the statistics of a window that ends now."""
    now = datetime.now(UTC)
    return store.stats(
        since=now - window, until=now, by=by, limit=1000, internal=internal
    )


def statuses(store: TaskStore) -> Rows:
    found = totals(store, DAY, None).total.now.statuses
    return sorted(([*each] for each in found.items()), key=lambda row: (-row[1], row))


def busiest(store: TaskStore) -> Rows:
    return [
        [
            *(row.value or "", row.now.count, row.now.waited.p95_s),
            *(row.now.ran.p50_s, row.now.ran.p95_s, row.now.ran.p99_s),
        ]
        for row in totals(store, 30 * DAY, internal=False).rows
    ]


def failures(store: TaskStore) -> Rows:
    rows = [
        [row.value or "", row.now.failed, row.now.failure_rate]
        for row in totals(store, DAY).rows
        if row.now.count
    ]
    return sorted(rows, key=lambda row: (-row[2], row[0]))


def hours(store: TaskStore) -> Rows:
    since = datetime.now(UTC) - 80 * DAY
    series = store.figures(since=since, step=timedelta(hours=1)).series
    counted = [[each.since, each.count] for each in series if each.count]
    return counted[::-1][:168]


def days_of_one_task(store: TaskStore) -> Rows:
    since = datetime.now(UTC) - 30 * DAY
    found = store.figures(since=since, step=DAY, name="export.a").series
    return [
        [each.since, each.ran.p50_s, each.ran.p95_s]
        for each in found
        if each.count and each.since >= since
    ]


def slower(store: TaskStore) -> Rows:
    now = datetime.now(UTC)
    rows = []
    for name in ("", *store.names()):
        before, after = (
            store.figures(since=end - WEEK, until=end, name=name).ran.p95_s
            for end in (now - WEEK, now)
        )
        if before is not None and after is not None and after > before:
            rows.append([name, before, after])
    return sorted(rows, key=lambda row: (-row[2] / row[1], row[0]))


def retried(store: TaskStore) -> Rows:
    rows = [
        [
            *(row.value or "", row.now.failed_attempts),
            *(row.now.retries, row.now.redeliveries),
        ]
        for row in totals(store, DAY).rows
    ]
    return sorted((row for row in rows if any(row[1:])), key=lambda r: (-r[1], r[0]))


def waits(store: TaskStore) -> Rows:
    rows = [
        [row.value or "", row.now.count, row.now.waited.p50_s, row.now.waited.p95_s]
        for row in totals(store, timedelta(hours=1), "queue").rows
        if row.now.count
    ]
    return sorted(rows, key=lambda row: (-(row[3] or 0), row[0]))


def backlog(store: TaskStore) -> Rows:
    samples = store.backlog_samples(since=datetime.now(UTC) - DAY)
    rows = [
        [each.since, each.queue, each.queued, each.scheduled, each.oldest_s]
        for each in samples
        if each.queue is not None and each.since == samples[-1].since
    ]
    return sorted(rows, key=lambda row: (-row[4], row[1]))


def largest_backlogs(store: TaskStore) -> Rows:
    since = datetime.now(UTC) - WEEK
    of_queue = defaultdict(list)
    for each in store.backlog_samples(since=since, step=timedelta(hours=1)):
        if each.queue is not None and each.since >= since:
            of_queue[each.queue].append(each)
    largest = [
        min(of_queue[queue], key=lambda each: (-each.queued_max, each.since))
        for queue in sorted(of_queue)
    ]
    return [
        [each.queue, each.since, each.queued_max, each.oldest_s] for each in largest
    ]


def new_errors(store: TaskStore) -> Rows:
    return [
        [
            *(each.id, each.state, each.name, each.sample),
            *(each.count, each.first_at, each.last_at),
        ]
        for each in store.error_groups(limit=1000)
        if each.state in ("new", "back")
    ]


def frequent_errors(store: TaskStore) -> Rows:
    now = datetime.now(UTC)
    rows = []
    for group in store.error_groups(limit=1000):
        found = store.figures(since=now - DAY, until=now, error_group=group.id)
        errors = found.count + found.failed_attempts
        rows.append([group.id, group.state, group.sample, errors])
    return sorted((row for row in rows if row[3]), key=lambda row: (-row[3], row[0]))


def overdue(store: TaskStore) -> Rows:
    rows = [
        [each.service or "", each.entry, each.schedule, each.timezone, each.next_at]
        for each in store.schedules()
        if each.overdue
    ]
    return sorted(rows, key=lambda row: (row[4], row[1]))


def irregular(store: TaskStore) -> Rows:
    rows = []
    for each in store.schedules():
        late_s, sent_at = None, None
        if each.last is not None:
            late_s, sent_at = each.last.late_s, each.last.sent_at
        if (late_s or 0) > 60 or each.missed or each.doubled:
            rows.append(
                [each.service or "", each.entry, sent_at, late_s]
                + [each.missed, each.doubled]
            )
    return sorted(rows, key=lambda row: row[:2])


def one_task(store: TaskStore) -> Rows:
    task = store.get(ID)
    return [
        [
            *(task.name, task.status, task.queue, task.kwargs, task.retries),
            *(task.scheduled_at, task.started_at, task.finished_at),
            *(task.worker, task.traceback),
        ]
    ]


#: The answers of `TaskStore`, by the number of the question.
ANSWERS: Sequence[Callable[[TaskStore], Rows]] = (
    *(statuses, busiest, failures, hours, days_of_one_task, slower, retried, waits),
    *(backlog, largest_backlogs, new_errors, frequent_errors, overdue, irregular),
    one_task,
)


def test_the_page_has_fifteen_questions() -> None:
    assert [*QUESTIONS] == [*range(1, 16)]


@pytest.mark.parametrize("number", QUESTIONS)
def test_a_statement_answers_as_the_task_store(
    readers: Engine, tasks: TaskStore, number: int
) -> None:
    is_for_sqlite, statement = QUESTIONS[number]
    if readers.dialect.name == "sqlite" and not is_for_sqlite:
        with pytest.raises(DBAPIError):
            fetch(readers, statement)
        return
    statement = statement.replace(DOCUMENTED_ID, ID)
    minute = None
    # Both windows end in the same minute.
    while minute != (minute := datetime.now(UTC).replace(second=0, microsecond=0)):
        rows, expected = fetch(readers, statement), ANSWERS[number - 1](tasks)

    assert rows
    assert rows == [[_about(value) for value in row] for row in expected]


def test_schedules_are_overdue_and_removed_as_in_the_task_store(
    readers: Engine, tasks: TaskStore
) -> None:
    columns = "service, entry, overdue, removed, known_until"
    rows = fetch(readers, f"SELECT {columns} FROM workertoolbox_schedules")

    assert sorted(rows, key=str) == sorted(
        (
            [
                *(each.service or "", each.entry, each.overdue, each.removed),
                each.known_until,
            ]
            for each in tasks.schedules(removed=True)
        ),
        key=str,
    )


def test_error_groups_have_the_states_of_the_task_store(
    readers: Engine, tasks: TaskStore
) -> None:
    rows = fetch(readers, "SELECT id, state FROM workertoolbox_error_groups")
    expected = [[each.id, each.state] for each in tasks.error_groups(limit=1000)]

    assert sorted(rows, key=str) == sorted(expected, key=str)
    assert {state for _, state in rows} == {*STATES}


def _about(value: Any) -> Any:
    return pytest.approx(value, rel=1e-9) if isinstance(value, float) else value


def test_a_dashboard_needs_only_the_documented_privileges(database: str) -> None:
    with granted_role(database, DASHBOARD_GRANT) as url:
        engine = create_engine(url)
        for number, (_, statement) in QUESTIONS.items():
            if number != 15:
                fetch(engine, statement)
        with pytest.raises(DBAPIError, match="permission denied for view"):
            fetch(engine, QUESTIONS[15][1])
        engine.dispose()


def tasks_ended(store: TaskStore, since: datetime, until: datetime) -> Rows:
    return [[store.stats(since=since, until=until).total.now.count]]


def share_of_failures(store: TaskStore, since: datetime, until: datetime) -> Rows:
    return [[store.stats(since=since, until=until).total.now.failure_rate]]


def backlogs(store: TaskStore, since: datetime, until: datetime) -> Rows:
    """Return the backlog of each queue by the minute, the hour or the day."""
    window = until - since
    step = MINUTE if window <= DAY / 4 else DAY / 24 if window <= 15 * DAY else DAY
    samples = store.backlog_samples(since=since, until=until, step=step)
    return [
        [each.since, each.queue, each.queued]
        for each in samples
        if each.queue is not None and since <= each.since <= until
    ]


def busiest_ones(store: TaskStore, since: datetime, until: datetime) -> Rows:
    """Return the columns of the table of tasks."""
    rows = []
    for row in store.stats(since=since, until=until, by="name", limit=100).rows:
        figures, ran = row.now, row.now.ran
        rows.append(
            [
                *(row.value or "", figures.count, figures.failed),
                *(figures.failure_rate, figures.failed_attempts, figures.waited.p95_s),
                *(ran.p50_s, ran.p95_s, ran.p99_s),
            ]
        )
    return rows


#: The answers of `TaskStore`, by the title of the panel.
PANEL_ANSWERS: Mapping[str, Callable[[TaskStore, datetime, datetime], Rows]] = {
    "Tasks ended": tasks_ended,
    "Failed": share_of_failures,
    "Waiting tasks by queue": backlogs,
    "Tasks": busiest_ones,
}

#: All queries of the dashboard, by the title of the panel or the name of the variable.
DASHBOARD = json.loads((DOCS / "grafana.json").read_text("utf-8"))
TARGETS = {
    panel["title"]: (target["rawSql"], target["format"])
    for panel in DASHBOARD["panels"]
    for target in panel["targets"]
} | {
    each["name"]: (each["query"], "table")
    for each in DASHBOARD["templating"]["list"]
    if each["type"] == "query"
}


@pytest.fixture(scope="module")
def dashboards(
    postgresql: PostgreSQL, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Engine, TaskStore]]:
    """A database with figures, for a role that may read only the four views of them."""
    with postgresql.database() as url:
        with TaskStore(result_backend_url(url)) as store:
            fill_database(store.engine)
            with granted_role(url, DASHBOARD_GRANT) as restricted:
                engine = create_engine(restricted)
                yield engine, store
                engine.dispose()


@pytest.mark.parametrize("title", TARGETS)
def test_a_query_of_the_dashboard_runs(
    dashboards: tuple[Engine, TaskStore], title: str
) -> None:
    engine, store = dashboards
    sql, format = TARGETS[title]
    now = datetime.now(UTC)
    for days in (1 / 24, 1, 7, 30):
        since = now - days * DAY
        for names in (None, ["export.a", "it's"]):
            variables = {"name": names, "queue": names and ["export"]}
            shown = expand(sql, since=since, until=now, variables=variables)
            rows = fetch(engine, shown)

            if names is None:
                assert rows or "queue" in title
            if names is None and title in PANEL_ANSWERS:
                expected = PANEL_ANSWERS[title](store, since, now)
                assert [_sorted(rows)] == [
                    [[_about(value) for value in row] for row in _sorted(expected)]
                ]
            if format == "time_series":
                assert all(isinstance(row[0], datetime) for row in rows)


def _sorted(rows: Rows) -> Rows:
    return sorted(rows, key=lambda row: [str(value) for value in row[:2]])


def test_the_dashboard_uses_only_the_views_and_functions_of_the_page() -> None:
    used = {name for sql, _ in TARGETS.values() for name in NAMES_IN_SQL.findall(sql)}

    assert used == {
        *("workertoolbox_figures", "workertoolbox_queues"),
        *("workertoolbox_error_groups", "workertoolbox_schedules"),
        *("workertoolbox_figures_between", "workertoolbox_tier"),
        *("workertoolbox_sum", "workertoolbox_percentile"),
    }
    assert used < {*NAMES_IN_SQL.findall(PAGE)}
    assert {panel["datasource"]["uid"] for panel in DASHBOARD["panels"]} == {
        "${datasource}"
    }


@pytest.fixture
def server(database: str) -> Iterator[Engine]:
    """An engine for an empty database of PostgreSQL."""
    engine = create_engine(database)
    yield engine
    engine.dispose()


def test_histograms_are_added_as_in_python(server: Engine) -> None:
    chance = random.Random(3)
    query = text(
        "SELECT workertoolbox_sum(each),"
        " workertoolbox_percentile(workertoolbox_sum(each), :fraction)"
        " FROM unnest(CAST(:texts AS text[])) AS each"
    )
    with server.connect() as connection:
        for _ in range(200):
            many = 2 ** chance.choice((1, 7, 15, 31, 50))
            some = [
                Histogram(
                    {
                        chance.choice((0, chance.randrange(1001))): chance.randint(
                            1, many
                        )
                        for _ in range(chance.randrange(20))
                    }
                )
                for _ in range(chance.randrange(5))
            ]
            texts = [each.to_text() for each in some]
            percent = chance.choice((0, 7, 50, 95, 99, 100))
            values = {"texts": texts, "fraction": percent / 100}
            elements, percentile = connection.execute(query, values).one()
            total = Histogram.merge(some)

            assert dict(divmod(each, 2**52) for each in elements or ()) == total.buckets
            assert percentile == _about(total.percentile(percent))


@pytest.mark.parametrize("fraction", [95, -0.1])
def test_a_fraction_out_of_range_is_refused(server: Engine, fraction: float) -> None:
    query = f"SELECT workertoolbox_percentile(ARRAY[[1, 1]]::bigint[], {fraction})"
    with pytest.raises(DBAPIError, match=f"between 0 and 1, got {fraction}"):
        fetch(server, query)


def test_intervals_cover_a_window_as_in_python(server: Engine) -> None:
    chance = random.Random(5)
    query = text("SELECT * FROM workertoolbox_intervals(:since, :until)")
    for _ in range(300):
        with server.connect() as connection:
            now = connection.scalar(text("SELECT now()"))
            complete = {
                "minute": now - KEEP["minute"] + timedelta(hours=1),
                "hour": now - KEEP["hour"] + timedelta(days=1),
                "day": FIRST,
            }
            days = 10 ** chance.uniform(-3, 2.3)
            since = now - timedelta(days=days)
            until = since + timedelta(days=days) * chance.random()
            if chance.random() < 0.3:
                since, until = interval_start(since, DAY), interval_end(until, DAY)
            found = connection.execute(query, {"since": since, "until": until})

            assert [*map(tuple, found)] == [*cover(since, until, complete)]


#: Calls of all functions, in a schema; `since` is a day with figures.
CALLS = """
SELECT
    {schema}.workertoolbox_tier(now() - interval '1 day', now()), figures.name,
    sum(figures.count),
    {schema}.workertoolbox_percentile({schema}.workertoolbox_sum(figures.runs), 0.95)
FROM {schema}.workertoolbox_figures_between(
    date_trunc('day', now()) - interval '2 days', date_trunc('day', now())
) AS figures
GROUP BY figures.name ORDER BY figures.name
"""

#: Objects with the names of those that the functions use.
IMPOSTORS = """
CREATE SCHEMA impostors;
CREATE FUNCTION impostors.date_trunc(text, timestamptz, text) RETURNS timestamptz
LANGUAGE sql AS 'SELECT now()';
CREATE FUNCTION impostors.ceil(numeric) RETURNS numeric LANGUAGE sql AS 'SELECT 0';
CREATE FUNCTION impostors.decode(text, text) RETURNS bytea LANGUAGE sql
AS $$SELECT NULL::bytea$$;
CREATE FUNCTION impostors.workertoolbox_intervals(
    since timestamptz, until timestamptz,
    OUT tier text, OUT first_at timestamptz, OUT end_at timestamptz
) RETURNS SETOF record LANGUAGE sql AS $$SELECT 'day', now(), now()$$;
CREATE VIEW impostors.workertoolbox_figures AS SELECT 1;
"""


@pytest.mark.parametrize(
    "search_path", ["''", "impostors, pg_catalog", "impostors, pg_catalog, public"]
)
def test_functions_do_not_depend_on_the_search_path(url: str, search_path: str) -> None:
    if url.startswith("sqlite"):
        return  # It has no functions for figures.
    engine = create_engine(url)
    with engine.connect() as connection:  # Nothing is committed.
        connection.exec_driver_sql(IMPOSTORS)
        rows = connection.exec_driver_sql(CALLS.format(schema="public")).all()
        connection.exec_driver_sql(f"SET LOCAL search_path = {search_path}")
        calls = CALLS.format(schema="public")
        for name in ("now", "date_trunc", "sum"):
            calls = calls.replace(f" {name}(", f" pg_catalog.{name}(")
        others = connection.exec_driver_sql(calls).all()
        plan = connection.exec_driver_sql(f"EXPLAIN {calls}").scalars().all()
    engine.dispose()

    assert rows and others == rows
    # The planner has replaced the call by its query.
    assert "workertoolbox_rollup" in str(plan)
    assert "Scan on workertoolbox_figures_between" not in str(plan)


@pytest.mark.parametrize("window", ["NULL, now()", "now(), NULL", "NULL, NULL"])
def test_a_window_without_an_end_has_no_figures(url: str, window: str) -> None:
    if url.startswith("sqlite"):
        return
    engine = create_engine(url)
    for name in ("intervals", "figures_between"):
        assert fetch(engine, f"SELECT * FROM workertoolbox_{name}({window})") == []
    engine.dispose()


@pytest.mark.parametrize("page", ["database", "upgrade"])
def test_the_statements_of_another_page_run(page: str, tasks: TaskStore) -> None:
    if tasks.engine.dialect.name == "sqlite":
        return
    text = (DOCS / "how-to" / f"{page}.md").read_text("utf-8")
    found = [block.text for block in blocks(text, "sql")]
    # `test_documented_grants.py` needs each grant.
    [statement] = (each for each in found if not each.startswith("GRANT"))
    with tasks.engine.connect() as connection:  # Nothing is committed.
        connection.exec_driver_sql(statement)

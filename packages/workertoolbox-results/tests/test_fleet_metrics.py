"""Metrics for Prometheus about the fleet."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest
from sqlalchemy import insert
from stored_tasks import publish, store_state

from cadasta.workertoolbox.results import TaskStore
from cadasta.workertoolbox.results._database.tables import backlog, schedule
from cadasta.workertoolbox.results._fleet_metrics.families import BOUNDS_S
from cadasta.workertoolbox.results._fleet_metrics.refresh import FleetMetrics
from cadasta.workertoolbox.results._fleet_metrics.totals import MAX_LABELS
from cadasta.workertoolbox.results._history.backlog import sample_backlog
from cadasta.workertoolbox.results._history.rollup import add_contributions
from cadasta.workertoolbox.results._history.tally import Contribution
from cadasta.workertoolbox.results._store.fleet.fleet_figures import (
    FleetFigures,
    FleetReader,
)

DAY, HOUR, MINUTE = timedelta(days=1), timedelta(hours=1), timedelta(minutes=1)

#: Name of a sample, without `workertoolbox_`, and its sorted values of labels.
Sample = tuple[str, ...]


@pytest.fixture
def metrics(store: TaskStore) -> FleetMetrics:
    return FleetMetrics(FleetReader.from_engine(store.engine).read)


def samples(metrics: FleetMetrics) -> Mapping[Sample, float]:
    """Return the values that a scrape shows."""
    return {
        (
            sample.name.removeprefix("workertoolbox_"),
            *(value for _, value in sorted(sample.labels.items())),
        ): sample.value
        for family in metrics.collect()
        for sample in family.samples
    }


def shown(metrics: FleetMetrics) -> Mapping[Sample, float]:
    """Return the values that a scrape shows after a refresh."""
    assert metrics.refresh()
    return samples(metrics)


def ended(name: str = "export.a", status: str = "SUCCESS", **values: Any) -> Any:
    return Contribution(
        **{
            **{"name": name, "queue": "export", "status": status},
            **{"finished_at": datetime.now(UTC), **values},
        }
    )


def archive(store: TaskStore, *tasks: Contribution, sign: Any = 1) -> None:
    with store.engine.begin() as connection:
        add_contributions(connection, tasks, sign)


def of(values: Mapping[Sample, float], name: str) -> Mapping[tuple[str, ...], float]:
    """Return the values of one metric by its labels."""
    return {key[1:]: value for key, value in values.items() if key[0] == name}


def test_ended_tasks_are_counted_from_the_start_of_the_monitor(
    store: TaskStore, metrics: FleetMetrics
) -> None:
    archive(store, ended(), ended("export.b", "LOST"))
    before = of(shown(metrics), "tasks_ended_total")
    archive(store, ended(), ended(status="FAILURE"), ended(status="RETRY"))
    archive(store, ended("celery.backend_cleanup", queue="celery"))
    after = shown(metrics)

    # Names and the usual statuses appear with 0, so that the first increase is seen.
    assert before == {
        ("export.a", "SUCCESS"): 0,
        ("export.a", "FAILURE"): 0,
        ("export.b", "SUCCESS"): 0,
        ("export.b", "FAILURE"): 0,
        ("export.b", "LOST"): 0,
    }
    assert of(after, "tasks_ended_total") == {
        **before,
        ("export.a", "SUCCESS"): 1,
        ("export.a", "FAILURE"): 1,
    }
    assert of(after, "attempts_failed_total") == {("export.a",): 1, ("export.b",): 0}
    assert of(after, "queue_ended_total") == {("export",): 2, ("celery",): 1}


def test_counters_never_decrease_and_are_the_same_in_all_monitors(
    store: TaskStore, metrics: FleetMetrics
) -> None:
    chance = random.Random(3)
    other = FleetMetrics(FleetReader.from_engine(store.engine).read)
    names = [f"export.n{number}" for number in range(MAX_LABELS + 10)]
    archived: list[Contribution] = []
    seen = []
    added: Counter[str] = Counter()
    for step in range(40):
        tasks = [
            ended(
                chance.choice(names[: step + 20]),
                chance.choice(("SUCCESS", "FAILURE", "LOST", "RETRY")),
                finished_at=datetime.now(UTC) - chance.choice((0, 0.2, 1)) * DAY,
                waited_s=10 ** chance.uniform(-3, 6),
                ran_s=10 ** chance.uniform(-3, 6),
            )
            for _ in range(chance.randrange(30))
        ]
        archive(store, *tasks)
        archived += tasks
        # A task ends again.
        if tasks and step % 3:
            archive(store, tasks[0], sign=-1)
            archive(store, tasks[0]._replace(status="FAILURE"))
        if step == 5:
            first_of_other = shown(other)
        seen.append(shown(metrics))
        added["tasks"] += sum(each.status != "RETRY" for each in tasks) if step else 0
    for before, after in pairwise(seen):
        counters = {
            key: value
            for key, value in after.items()
            if key[0].endswith(("_total", "_bucket", "_count", "_sum"))
        }

        assert all(counters[key] >= before.get(key, 0) for key in counters)
    # Each counter of the other monitor has increased by as much since its start.
    last = shown(other)
    for name in ("tasks_ended_total", "task_run_seconds_count", "queue_ended_total"):
        for key, value in of(last, name).items():
            if key[0] != "other":
                since = seen[5].get((name, *key), 0)
                assert value - first_of_other.get((name, *key), 0) == (
                    seen[-1][(name, *key)] - since
                )
    named = {key[0] for key in of(seen[-1], "tasks_ended_total")}

    assert len(named) == MAX_LABELS + 1
    assert "other" in named
    assert sum(of(seen[-1], "queue_ended_total").values()) >= added["tasks"]


def test_only_the_busiest_names_have_their_own_label(
    store: TaskStore, metrics: FleetMetrics
) -> None:
    names = [f"export.n{number:02}" for number in range(MAX_LABELS)]
    archive(store, *(ended(name) for name in names * 2))
    shown(metrics)
    archive(store, ended("export.rare"))
    before = of(shown(metrics), "tasks_ended_total")
    archive(store, *[ended("export.rare")] * 4)
    after = of(shown(metrics), "tasks_ended_total")

    assert before["other", "SUCCESS"] == after["other", "SUCCESS"] == 1
    assert {name for name, _ in before} == {*names, "other"}
    assert after["export.rare", "SUCCESS"] == 4
    assert {name for name, _ in after} == {*names[:-1], "export.rare", "other"}


def test_histograms_count_waits_and_run_times(
    store: TaskStore, metrics: FleetMetrics
) -> None:
    shown(metrics)
    runs_s = [0.0, 0.004, 0.2, 0.2, 7.0, 1e6, 1e6]
    archive(store, *(ended(ran_s=each, waited_s=1.5) for each in runs_s))
    values = shown(metrics)
    for bound in BOUNDS_S:
        key = ("task_run_seconds_bucket", str(bound), "export.a")
        assert values[key] == sum(each <= bound for each in runs_s)

    assert values["task_run_seconds_bucket", "+Inf", "export.a"] == 7
    assert values["task_run_seconds_count", "export.a"] == 7
    assert values["task_run_seconds_sum", "export.a"] == pytest.approx(
        sum(runs_s), rel=0.02
    )
    assert values["task_wait_seconds_count", "export.a"] == 7


def test_queues_show_the_latest_sample_and_emptied_queues_as_empty(
    store: TaskStore, metrics: FleetMetrics
) -> None:
    now = datetime.now(UTC)
    publish(store, "export", "1", "2", at=now - HOUR)
    publish(store, "export", "3", at=now - HOUR, eta=(now + HOUR).isoformat())
    publish(store, "msg", "4", at=now - HOUR)
    with store.engine.begin() as connection:
        sample_backlog(connection, now - 3 * MINUTE)
    store_state(store, "4", "SUCCESS")
    with store.engine.begin() as connection:
        sample_backlog(connection, now)
    values = shown(metrics)

    assert of(values, "queue_waiting") == {("export",): 2, ("msg",): 0}
    assert of(values, "queue_scheduled") == {("export",): 1, ("msg",): 0}
    assert values["queue_oldest_seconds", "export"] == pytest.approx(3600, abs=1)
    assert values["backlog_timestamp_seconds",] == pytest.approx(
        now.timestamp(), abs=60
    )


def test_an_old_sample_of_the_backlog_is_not_shown(
    store: TaskStore, metrics: FleetMetrics
) -> None:
    publish(store, "export", "1")
    with store.engine.begin() as connection:
        sample_backlog(connection, datetime.now(UTC) - 7 * MINUTE)
    values = shown(metrics)

    assert of(values, "queue_waiting") == {}
    assert of(values, "backlog_timestamp_seconds")


def test_small_queues_are_added_up(store: TaskStore, metrics: FleetMetrics) -> None:
    at = datetime.now(UTC).replace(second=0, microsecond=0)
    numbers = dict.fromkeys(("samples", "queued_sum", "scheduled_sum"), 1)
    with store.engine.begin() as connection:
        connection.execute(
            insert(backlog),
            [
                {
                    **{"tier": "minute", "at": at, "queue": f"q{n}", **numbers},
                    **{"queued_max": n, "scheduled_max": 1, "oldest_max_s": 1.0 * n},
                }
                for n in range(MAX_LABELS + 10)
            ],
        )
    values = shown(metrics)

    assert len(of(values, "queue_waiting")) == MAX_LABELS + 1
    assert values["queue_waiting", "other"] == sum(range(10))
    assert values["queue_oldest_seconds", "other"] == 9


def test_errors_schedules_and_progress_are_shown(
    store: TaskStore, metrics: FleetMetrics
) -> None:
    now = datetime.now(UTC)
    entry = {
        **{"service": "export", "count": 1, "missed": 0, "doubled": 0},
        **{"first_at": now - DAY, "runs": []},
    }
    with store.engine.begin() as connection:
        connection.execute(
            insert(schedule),
            [
                {"entry": "late", "next_at": now - HOUR, **entry},
                {"entry": "right", "next_at": now + HOUR, **entry},
            ],
        )
    values = shown(metrics)

    assert of(values, "schedule_overdue") == {("late", "export"): 1}
    assert values["schedules_overdue",] == 1
    assert values["error_groups", "new"] == 0
    assert values["read_until_timestamp_seconds",] >= now.timestamp()
    assert values["archived_until_timestamp_seconds",] >= now.timestamp() - 60
    assert values["backlog_timestamp_seconds",] == 0
    assert values["recent_untracked",] == 0
    assert values["database_up",] == 1


def test_scrapes_do_not_query_the_database(store: TaskStore) -> None:
    reader = FleetReader.from_engine(store.engine)
    readings = []

    def read() -> Any:
        readings.append(1)
        return reader.read()

    metrics = FleetMetrics(read)

    assert samples(metrics) == {}
    shown(metrics)
    for _ in range(10):
        samples(metrics)
    assert len(readings) == 1


def rename(store: TaskStore, before: str, after: str) -> None:
    with store.engine.begin() as connection:
        connection.exec_driver_sql(f"ALTER TABLE {before} RENAME TO {after}")


def test_without_the_database_only_counters_are_shown(
    store: TaskStore, metrics: FleetMetrics, caplog: pytest.LogCaptureFixture
) -> None:
    archive(store, ended())
    before = shown(metrics)
    rename(store, "workertoolbox_monitor", "away")
    for _ in range(3):
        assert not metrics.refresh()
    during = samples(metrics)
    archive(store, ended())
    rename(store, "away", "workertoolbox_monitor")
    after = shown(metrics)

    assert during["database_up",] == 0
    assert during.keys() < before.keys()
    assert during["tasks_ended_total", "export.a", "SUCCESS"] == 0
    assert after["database_up",] == 1
    assert after["tasks_ended_total", "export.a", "SUCCESS"] == 1
    assert len(caplog.messages) == 1


def test_rows_that_cannot_be_read_do_not_end_the_readings(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def read() -> FleetFigures:
        raise ValueError("odd row")

    metrics = FleetMetrics(read)

    assert not metrics.refresh()
    assert [(each.name, each.samples[0].value) for each in metrics.collect()] == [
        ("workertoolbox_database_up", 0)
    ]
    assert "cannot be read: odd row" in caplog.text


def test_old_figures_are_not_shown(store: TaskStore) -> None:
    # The thread waits for a server that does not answer.
    reader = FleetReader.from_engine(store.engine)
    metrics = FleetMetrics(reader.read, max_age_s=-1)
    values = shown(metrics)

    assert values["database_up",] == 0
    assert of(values, "schedules_overdue") == {}


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("runs", "malformed"),
        ("runs", "0:0:0:AAAA"),
        ("waits", "0:999999999999:1:AAAA"),
        ("waits", "0:0:1:A"),
        ("count", "many"),
    ],
)
def test_a_malformed_row_does_not_stop_the_others(
    store: TaskStore,
    metrics: FleetMetrics,
    caplog: pytest.LogCaptureFixture,
    column: str,
    value: str,
) -> None:
    archive(store, ended("export.bad"), ended("export.good"))
    shown(metrics)
    with store.engine.begin() as connection:
        statement = f"UPDATE workertoolbox_rollup SET {column} = ? WHERE name = ?"
        connection.exec_driver_sql(statement, (value, "export.bad"))
    archive(store, ended("export.good"))
    after = shown(metrics)
    again = shown(metrics)

    assert of(after, "tasks_ended_total")["export.good", "SUCCESS"] == 1
    assert of(again, "tasks_ended_total") == of(after, "tasks_ended_total")
    [logged] = caplog.messages
    assert "malformed rows of workertoolbox_rollup" in logged
    assert "that of export.bad" in logged

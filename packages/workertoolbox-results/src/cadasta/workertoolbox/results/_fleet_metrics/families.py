"""Metrics of Prometheus, made of figures about the fleet."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator, Mapping

from prometheus_client import Metric
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
)
from prometheus_client.utils import floatToGoString

from cadasta.workertoolbox.results._fleet_metrics.totals import (
    OTHER,
    EndedTotals,
    largest,
)
from cadasta.workertoolbox.results._history.histogram import bucket_value
from cadasta.workertoolbox.results._store.fleet.fleet_figures import (
    FleetFigures,
    Waiting,
)

#: Upper bounds in seconds of the buckets of waits and run times.
BOUNDS_S = (
    *(0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0),
    *(300.0, 900.0, 3600.0, 14400.0, 86400.0),
)

#: Maximum number of overdue entries with a label of their own.
MAX_ENTRIES = 50


def ended_metrics(totals: EndedTotals) -> Iterator[Metric]:
    """Yield the counters of ended tasks."""
    ended = CounterMetricFamily(
        "workertoolbox_tasks_ended",
        "Tasks that ended and are archived, without Celery's own.",
        labels=["name", "status"],
    )
    for labels, number in totals.ended.items():
        ended.add_metric(labels, number)
    yield ended
    attempts = CounterMetricFamily(
        "workertoolbox_attempts_failed",
        "Attempts that failed and were retried, of tasks that are archived.",
        labels=["name"],
    )
    for name, number in totals.failed_attempts.items():
        attempts.add_metric([name], number)
    yield attempts
    queues = CounterMetricFamily(
        "workertoolbox_queue_ended",
        "Tasks that ended and are archived, with Celery's own.",
        labels=["queue"],
    )
    for queue, number in totals.queues.items():
        queues.add_metric([queue], number)
    yield queues
    yield _histogram(
        "workertoolbox_task_wait_seconds",
        "Time from when a task could run to its start.",
        totals.waits,
    )
    yield _histogram(
        "workertoolbox_task_run_seconds",
        "Time from the start of a task to its end.",
        totals.runs,
    )


def _histogram(name: str, help: str, of_name: Mapping[str, Counter[int]]) -> Metric:
    family = HistogramMetricFamily(name, help, labels=["name"])
    bounds = [*map(floatToGoString, BOUNDS_S), "+Inf"]
    for label, buckets in of_name.items():
        numbers = [0] * len(bounds)
        sum_s = 0.0
        for bucket, number in buckets.items():
            seconds = bucket_value(bucket)
            numbers[bisect_left(BOUNDS_S, seconds)] += number
            sum_s += number * seconds
        total, cumulated = 0, []
        for bound, number in zip(bounds, numbers, strict=True):
            total += number
            cumulated.append((bound, total))
        family.add_metric([label], cumulated, sum_s)
    return family


def fleet_metrics(figures: FleetFigures) -> Iterator[Metric]:
    """Yield the metrics of the present state of the fleet."""
    yield from _queue_metrics(figures)
    sampled_at = figures.sampled_at
    yield GaugeMetricFamily(
        "workertoolbox_backlog_timestamp_seconds",
        "When the archiver has last counted the waiting tasks; 0 if it never has.",
        value=0.0 if sampled_at is None else sampled_at.timestamp(),
    )
    groups = GaugeMetricFamily(
        "workertoolbox_error_groups", "Groups of errors by state.", labels=["state"]
    )
    for state, number in figures.error_groups.items():
        groups.add_metric([state], number)
    yield groups
    yield GaugeMetricFamily(
        "workertoolbox_schedules_overdue",
        "Entries of beat's schedule that are overdue.",
        value=len(figures.overdue),
    )
    entries = GaugeMetricFamily(
        "workertoolbox_schedule_overdue",
        "1 for each entry of beat's schedule that is overdue.",
        labels=["service", "entry"],
    )
    for labels in figures.overdue[:MAX_ENTRIES]:
        entries.add_metric(labels, 1)
    yield entries
    yield from _horizon_metrics(figures)
    yield GaugeMetricFamily(
        "workertoolbox_recent_untracked",
        "Results of the last hour without a task, up to 20,000.",
        value=figures.untracked,
    )


def _horizon_metrics(figures: FleetFigures) -> Iterator[Metric]:
    """Yield the times until which the database is complete."""
    messages = "All messages published until then are stored."
    ends = "All tasks that ended until then are archived."
    for name, help, at in (
        ("read_until", messages, figures.read_until),
        ("archived_until", ends, figures.archived_until),
    ):
        yield GaugeMetricFamily(
            f"workertoolbox_{name}_timestamp_seconds", help, value=at.timestamp()
        )


def _queue_metrics(figures: FleetFigures) -> Iterator[Metric]:
    waiting, scheduled, oldest = (
        GaugeMetricFamily(f"workertoolbox_queue_{name}", help, labels=["queue"])
        for name, help in (
            ("waiting", "Tasks that can run and have not started."),
            ("scheduled", "Tasks with an ETA ahead."),
            ("oldest_seconds", "How long the oldest task has been able to run."),
        )
    )
    for queue, each in _limited(figures).items():
        waiting.add_metric([queue], each.queued)
        scheduled.add_metric([queue], each.scheduled)
        oldest.add_metric([queue], each.oldest_s)
    yield from (waiting, scheduled, oldest)


def _limited(figures: FleetFigures) -> Mapping[str, Waiting]:
    """Return the backlog of the largest queues, and that of the others together."""
    sizes = Counter({name: each.queued for name, each in figures.queues.items()})
    for key, columns in figures.ended.items():
        if key.queue in sizes:
            sizes[key.queue] += columns.tasks
    labels = largest(sizes)
    limited = {queue: figures.queues[queue] for queue in sorted(labels)}
    others = [each for queue, each in figures.queues.items() if queue not in labels]
    if others:
        limited[OTHER] = Waiting(
            sum(each.queued for each in others),
            sum(each.scheduled for each in others),
            max(each.oldest_s for each in others),
        )
    return limited

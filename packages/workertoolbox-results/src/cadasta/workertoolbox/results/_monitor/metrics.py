"""Metrics of a monitor for Prometheus. They need the extra `prometheus`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Protocol

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Histogram,
    Metric,
    ProcessCollector,
    make_wsgi_app,
)
from prometheus_client.core import GaugeMetricFamily

from cadasta.workertoolbox.results._errors import MetricsUnavailable
from cadasta.workertoolbox.results._monitor.metrics_server import MetricsServer
from cadasta.workertoolbox.results._monitor.throughput import CommittedBatch

#: Upper bounds of the lag's buckets in seconds, for monitors that keep up and for those
#: that were stopped for up to a day.
LAG_BUCKETS_S = (0.1, 0.5, 1, 5, 15, 60, 300, 900, 3600, 14400, 86400)


class RecentTasks(Protocol):
    """Counts of the tasks of the last hour."""

    @property
    def tasks(self) -> Mapping[tuple[str, str], int]:
        """Number of tasks by status and queue."""

    @property
    def untracked(self) -> int:
        """Number of results without a task."""


class Metrics:
    """Metrics of the messages that this monitor has written, and of recent tasks.

    Args:
        find_recent: Returns the counts of recent tasks, or None if the database does
            not answer. It is called for each scrape, in a separate thread.
    """

    def __init__(self, find_recent: Callable[[], RecentTasks | None]) -> None:
        self._registry = CollectorRegistry()
        self._stored = Counter(
            "workertoolbox_messages_stored",
            "Task messages that this monitor has stored.",
            registry=self._registry,
        )
        self._quarantined = Counter(
            "workertoolbox_messages_quarantined",
            "Messages that this monitor has put into quarantine.",
            registry=self._registry,
        )
        self._batch_s = Histogram(
            "workertoolbox_batch_seconds",
            "Duration of the transaction of a batch.",
            registry=self._registry,
        )
        self._lag_s = Histogram(
            "workertoolbox_lag_seconds",
            "Time from the publication of a batch's oldest message to its commit.",
            buckets=LAG_BUCKETS_S,
            registry=self._registry,
        )
        ProcessCollector(registry=self._registry)
        self._registry.register(_RecentTasksCollector(find_recent))

    def add(self, batch: CommittedBatch) -> None:
        """Count a batch."""
        self._stored.inc(batch.stored)
        self._quarantined.inc(batch.quarantined)
        self._batch_s.observe(batch.duration_s)
        if batch.stored:
            self._lag_s.observe(batch.lag_s)

    def serve(self, host: str, port: int) -> None:
        """Serve the metrics over HTTP in daemon threads, until the process ends.

        Raises:
            MetricsUnavailable: The monitor cannot listen on the address.
        """
        try:
            MetricsServer(host, port, make_wsgi_app(self._registry)).start()
        except OSError as error:
            raise MetricsUnavailable(
                f"--prometheus cannot listen on {host}:{port}: {error}; choose a free "
                "port"
            ) from error


class _RecentTasksCollector:
    def __init__(self, find_recent: Callable[[], RecentTasks | None]) -> None:
        self._find_recent = find_recent

    def collect(self) -> Iterator[Metric]:
        recent = self._find_recent()
        yield GaugeMetricFamily(
            "workertoolbox_database_up",
            "1 if the database has answered, else 0.",
            value=int(recent is not None),
        )
        if recent is None:
            return
        tasks = GaugeMetricFamily(
            "workertoolbox_recent_tasks",
            "Tasks scheduled in the last hour; the newest 20,000 are counted.",
            labels=["status", "queue"],
        )
        for labels, number in recent.tasks.items():
            tasks.add_metric(labels, number)
        yield tasks
        yield GaugeMetricFamily(
            "workertoolbox_recent_untracked",
            "Results of the last hour without a task; the newest 20,000 are checked.",
            value=recent.untracked,
        )

"""Figures of a monitor for Prometheus; needs the extra `prometheus`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Protocol

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Histogram,
    Metric,
    ProcessCollector,
    start_http_server,
)
from prometheus_client.core import GaugeMetricFamily

from cadasta.workertoolbox.results._errors import MetricsUnavailable
from cadasta.workertoolbox.results._monitor.throughput import CommittedBatch

#: Upper ends in seconds: from a monitor that keeps up to one that was off for a day.
LAGS_S = (0.1, 0.5, 1, 5, 15, 60, 300, 900, 3600, 14400, 86400)


class RecentTasks(Protocol):
    """Recent tasks, as the database counts them."""

    @property
    def tasks(self) -> Mapping[tuple[str, str], int]:
        """Number of tasks by status and queue."""

    @property
    def untracked(self) -> int:
        """Number of results without a task."""


class Metrics:
    """What one monitor has written, and the recent tasks of all.

    Args:
        find_recent: Returns the recent tasks, or None if the database does not answer.
            It is called at each scrape, in a thread of its own.
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
            "Duration of a batch's transaction.",
            registry=self._registry,
        )
        self._lag_s = Histogram(
            "workertoolbox_lag_seconds",
            "From the publication of a batch's oldest message to its commit.",
            buckets=LAGS_S,
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
        """Answer scrapes in threads, as long as the process lives.

        Raises:
            MetricsUnavailable: Nothing can listen there.
        """
        try:
            start_http_server(port, host, registry=self._registry)
        except OSError as error:
            raise MetricsUnavailable(
                f"--prometheus {host}:{port} cannot be listened on: {error}; "
                "give a port that is free"
            ) from error


class _RecentTasksCollector:
    def __init__(self, find_recent: Callable[[], RecentTasks | None]) -> None:
        self._find_recent = find_recent

    def describe(self) -> list[Metric]:
        return []

    def collect(self) -> Iterator[Metric]:
        recent = self._find_recent()
        yield GaugeMetricFamily(
            "workertoolbox_database_up",
            "Whether the database has answered.",
            value=int(recent is not None),
        )
        if recent is None:
            return
        tasks = GaugeMetricFamily(
            "workertoolbox_recent_tasks",
            "Tasks scheduled in the last hour, of which the newest 20,000 count.",
            labels=["status", "queue"],
        )
        for labels, number in recent.tasks.items():
            tasks.add_metric(labels, number)
        yield tasks
        yield GaugeMetricFamily(
            "workertoolbox_recent_untracked",
            "Of the newest 20,000 results of the last hour, those without a task.",
            value=recent.untracked,
        )

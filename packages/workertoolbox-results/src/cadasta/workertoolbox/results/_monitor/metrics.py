"""Figures of a monitor for Prometheus; needs the extra `prometheus`."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Histogram,
    Metric,
    ProcessCollector,
    start_http_server,
)
from prometheus_client.core import GaugeMetricFamily
from sqlalchemy import URL

from cadasta.workertoolbox.results._database.engine import open_engine
from cadasta.workertoolbox.results._errors import MetricsUnavailable
from cadasta.workertoolbox.results._monitor.throughput import CommittedBatch
from cadasta.workertoolbox.results._store.recent import RecentTasks

#: Upper ends in seconds: from a monitor that keeps up to one that was off for a day.
LAGS_S = (0.1, 0.5, 1, 5, 15, 60, 300, 900, 3600, 14400, 86400)


class Metrics:
    """What one monitor has written, and recent tasks as the database has them.

    Args:
        url: The database, asked on a connection of its own.
    """

    def __init__(self, url: URL) -> None:
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
        self._registry.register(_Database(url))

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


class _Database:
    def __init__(self, url: URL) -> None:
        self._recent = RecentTasks(open_engine(url, pool_size=1))

    def describe(self) -> list[Metric]:
        return []

    def collect(self) -> Iterator[Metric]:
        recent = self._recent.look()
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

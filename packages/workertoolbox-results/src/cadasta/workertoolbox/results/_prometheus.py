"""Figures of a monitor for Prometheus; needs the extra `prometheus`."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from threading import Lock

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
from sqlalchemy.exc import DBAPIError

from cadasta.workertoolbox.results._engine import open_engine
from cadasta.workertoolbox.results._errors import MetricsUnavailable
from cadasta.workertoolbox.results._meter import CommittedBatch
from cadasta.workertoolbox.results._recent import Recent, count_recent

_logger = logging.getLogger(__name__)

#: Seconds for which the answer of the database is used again.
FRESH_S = 15.0

#: Seconds that a scrape waits for another that asks the database.
WAIT_S = 5.0

#: Upper ends in seconds: from a monitor that keeps up to one that was off for a day.
LAGS_S = (0.1, 0.5, 1, 5, 15, 60, 300, 900, 3600, 14400, 86400)


class Figures:
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
        self._engine = open_engine(url, pool_size=1)
        self._asking = Lock()
        self._asked_at = float("-inf")
        self._recent: Recent | None = None

    def describe(self) -> list[Metric]:
        return []

    def collect(self) -> Iterator[Metric]:
        recent = self._look()
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

    def _look(self) -> Recent | None:
        # A server that says nothing holds up one scrape, and not one after the other.
        if not self._asking.acquire(timeout=WAIT_S):
            return None
        try:
            if time.monotonic() - self._asked_at >= FRESH_S:
                self._recent = None
                self._recent = count_recent(self._engine)
                self._asked_at = time.monotonic()
        except DBAPIError as error:
            _logger.warning("recent tasks cannot be counted: %s", error.orig)
        finally:
            self._asking.release()
        return self._recent

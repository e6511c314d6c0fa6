"""Metrics of a monitor for Prometheus. They need the extra `prometheus`."""

from __future__ import annotations

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Histogram,
    ProcessCollector,
    make_wsgi_app,
)
from prometheus_client.registry import Collector

from cadasta.workertoolbox.results._errors import MetricsUnavailable
from cadasta.workertoolbox.results._monitor.metrics_server import MetricsServer
from cadasta.workertoolbox.results._monitor.throughput import CommittedBatch

#: Upper bounds of the lag's buckets in seconds, for monitors that keep up and for those
#: that were stopped for up to a day.
LAG_BUCKETS_S = (0.1, 0.5, 1, 5, 15, 60, 300, 900, 3600, 14400, 86400)


class Metrics:
    """Metrics of the messages that this monitor has written, and others.

    Args:
        others: Yields metrics that are served too. Each scrape calls it, in a separate
            thread.
    """

    def __init__(self, others: Collector) -> None:
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
        self._registry.register(others)

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

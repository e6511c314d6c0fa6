"""One thread that reads the figures about the fleet for all scrapes."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from threading import Thread

from prometheus_client import Metric
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from cadasta.workertoolbox.results._fleet_metrics.families import (
    ended_metrics,
    fleet_metrics,
)
from cadasta.workertoolbox.results._fleet_metrics.totals import EndedTotals
from cadasta.workertoolbox.results._store.fleet.fleet_figures import FleetFigures

_logger = logging.getLogger(__name__)

#: Seconds between two readings, and after one that failed.
REFRESH_S, RETRY_S = 10.0, 5.0

#: Seconds after which figures are too old to be shown: the database does not answer.
MAX_AGE_S = 60.0


class FleetMetrics(Collector):
    """A collector of Prometheus for the figures about the fleet.

    A scrape shows what was read last; it never waits for the database. Without the
    database, only the counters are shown.

    Args:
        read: Reads the figures.
        max_age_s: Seconds for which figures are shown.
    """

    def __init__(
        self, read: Callable[[], FleetFigures], *, max_age_s: float = MAX_AGE_S
    ) -> None:
        self._read = read
        self._max_age_s = max_age_s
        self._totals = EndedTotals()
        self._ended: Sequence[Metric] = ()
        self._fleet: Sequence[Metric] | None = None
        self._read_at: float | None = None

    def start(self, *, refresh_s: float = REFRESH_S, retry_s: float = RETRY_S) -> None:
        """Read the figures again and again, in a daemon thread.

        Args:
            refresh_s: Seconds between two readings.
            retry_s: Seconds between two readings while the database does not answer.
        """

        def run() -> None:
            while True:
                time.sleep(refresh_s if self.refresh() else retry_s)

        Thread(target=run, name="fleet metrics", daemon=True).start()

    def refresh(self) -> bool:
        """Read the figures, and return whether the database has answered."""
        try:
            figures = self._read()
        except Exception as error:
            # Rows that others have written may contain anything.
            if self._fleet is not None or self._read_at is None:
                _logger.warning("figures for metrics cannot be read: %s", error)
            self._fleet = None
        else:
            self._totals.update(figures.ended)
            self._ended = [*ended_metrics(self._totals)]
            self._fleet = [*fleet_metrics(figures)]
        self._read_at = time.monotonic()
        return self._fleet is not None

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics, from the first reading on."""
        read_at, fleet = self._read_at, self._fleet
        if read_at is None:
            return
        if time.monotonic() - read_at > self._max_age_s:
            fleet = None
        yield GaugeMetricFamily(
            "workertoolbox_database_up",
            "1 if the database has answered, else 0.",
            value=int(fleet is not None),
        )
        yield from self._ended
        yield from fleet or ()

"""The pause before a worker connects again to a broker that answers and refuses."""

from __future__ import annotations

from math import inf
from time import monotonic, sleep

from celery.worker.state import maybe_shutdown

#: Seconds to wait after the first refusal, and at most.
FIRST_WAIT_S, MAX_WAIT_S = 1.0, 15.0


class RefusalPause:
    """Waits that grow with each refusal of the broker.

    Without them a worker would connect and log several times a second.
    """

    def __init__(self) -> None:
        self._wait_s = FIRST_WAIT_S
        self._refused_at = -inf

    def wait(self) -> None:
        """Wait after a refusal, unless the worker has to end.

        Raises:
            SystemExit: The worker has to end.
        """
        if monotonic() - self._refused_at > 2 * MAX_WAIT_S:
            self._wait_s = FIRST_WAIT_S
        until = monotonic() + self._wait_s
        while monotonic() < until:
            maybe_shutdown()
            sleep(min(0.2, self._wait_s))
        self._wait_s = min(2 * self._wait_s, MAX_WAIT_S)
        self._refused_at = monotonic()

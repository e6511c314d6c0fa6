"""Steps of a fleet's clocks while no task is on its way."""

from __future__ import annotations

import time

from endurance.clock import INTERVAL_S
from endurance.halting import halted
from endurance.sampling import Sampler
from support.polling import wait_until

#: Seconds until all processes have followed a step.
FOLLOWED_S = 5 * INTERVAL_S

#: Seconds until all published tasks have ended, at most.
TIMEOUT_S = 120.0


def step(sampler: Sampler) -> None:
    """Move the clocks when all published tasks have ended.

    Processes follow one after the other. A task that is retried meanwhile would seem to
    end hours before it was published. Clocks of real fleets do not differ that much.
    """
    clock = sampler.fleet.clock
    with halted(clock.file):
        wait_until(sampler.is_drained, timeout_s=TIMEOUT_S)
        clock.step()
        stepped_at = time.monotonic()
        wait_until(lambda: time.monotonic() > stepped_at + FOLLOWED_S)

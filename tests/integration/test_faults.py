"""A fleet keeps its books under faults at random moments, in short.

The long form is `hatch run faults`, which draws more faults from a seed of its own.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from faults.environment import FAULT_KINDS
from faults.fleet import run_fleet

#: Drawn once; another one moves the faults to other moments, and in another order.
SEED = 1126


@pytest.mark.parametrize("broker", FAULT_KINDS)
def test_every_task_is_tracked_once_and_no_message_is_left_after_faults(
    broker: str, tmp_path: Path
) -> None:
    summary = run_fleet(
        broker,
        tmp_path,
        tasks=200,
        # Of each kind one.
        faults=len(FAULT_KINDS[broker]),
        seed=SEED,
        longest_s=1.0,
        timeout_s=60.0,
    )

    assert summary.tasks >= 200
    assert summary.attempts >= summary.tasks

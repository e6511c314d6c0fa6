"""A fleet tracks every task in spite of random faults: the short form.

The long form is `hatch run faults`, with more faults and a new seed each time.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from faults.environment import FAULT_KINDS
from faults.fleet import run_fleet

#: The seed of the order and the times of the faults.
SEED = 1126


@pytest.mark.parametrize("broker", FAULT_KINDS)
def test_every_task_is_tracked_once_and_no_message_is_left_after_faults(
    broker: str, tmp_path: Path
) -> None:
    summary = run_fleet(
        broker,
        tmp_path,
        tasks=200,
        # One of each kind.
        faults=len(FAULT_KINDS[broker]),
        seed=SEED,
        longest_s=1.0,
        timeout_s=60.0,
    )

    assert summary.tasks >= 200
    assert summary.attempts >= summary.tasks

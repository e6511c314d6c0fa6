"""A running fleet of the last release is upgraded: the short form.

The long form is `hatch run faults --upgrade`, with five million tasks.
"""

from __future__ import annotations

from pathlib import Path

from servers.access import BrokerServer
from servers.postgresql import PostgreSQL
from upgrades.rehearsal import rehearse_on

#: Old tasks, in every state.
TASKS = 200_000


def test_an_upgrade_under_load_loses_no_task_and_blocks_no_statement(
    redis: BrokerServer, postgresql: PostgreSQL, tmp_path: Path
) -> None:
    rehearse_on(redis, postgresql, tmp_path, tasks=TASKS, report=print)

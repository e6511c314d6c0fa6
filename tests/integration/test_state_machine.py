"""The toolbox agrees with a plain model of it after each of random steps."""

from __future__ import annotations

from pathlib import Path

from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test

from state_machine.databases import SQLite
from state_machine.machine import Machine

#: They take 15 seconds. `hatch run machine` takes more, on PostgreSQL.
EXAMPLES, STEPS = 12, 40


def test_random_steps_on_sqlite(tmp_path: Path) -> None:
    class OnSQLite(Machine):
        fleets = SQLite(tmp_path)

    run_state_machine_as_test(
        OnSQLite,
        settings=settings(
            max_examples=EXAMPLES,
            stateful_step_count=STEPS,
            deadline=None,
            derandomize=True,
            database=None,
            suppress_health_check=[*HealthCheck],
        ),
    )

"""What `tasks rerun` would publish, before it asks."""

from __future__ import annotations

import click

from cadasta.workertoolbox.results._commands.number_table import (
    Cell,
    Column,
    count_cell,
    print_numbers,
)
from cadasta.workertoolbox.results._number_text import counted
from cadasta.workertoolbox.results._reruns.plan import RerunPlan
from cadasta.workertoolbox.results._safe_text import terminal_text

#: Number of ids that are printed for each reason of a refusal.
_MAX_IDS = 3

_COLUMNS = (
    Column("name", is_text=True),
    Column("queue", is_text=True),
    Column("status", is_text=True),
    Column("tasks"),
)


def show_plan(plan: RerunPlan, *, alone: bool, as_json: bool) -> None:
    """Print how many tasks can be rerun, by name, queue and status, and which not.

    Args:
        alone: Whether steps of workflows run without the steps after them.
    """
    kinds = plan.kinds
    if kinds and not as_json:
        rows = [
            [*map(Cell, (name or "?", queue or "?", status)), count_cell(number)]
            for name, queue, status, number in kinds
        ]
        print_numbers(_COLUMNS, rows)
    for reason, ids in plan.refusals:
        some = ", ".join(ids[:_MAX_IDS]) + ", …" * (len(ids) > _MAX_IDS)
        number = counted(len(ids), "task")
        show_line(f"cannot rerun {number}: {reason} ({some})", as_json=as_json)
    steps = sum(each.is_step for each in plan.allowed)
    if steps and alone:
        show_line(
            f"steps of workflows among them: {steps:,}; they run alone, without the "
            "steps after them",
            as_json=as_json,
        )


def show_line(line: str, *, as_json: bool) -> None:
    """Print a line, on standard error beside JSON."""
    click.echo(terminal_text(line), err=as_json)

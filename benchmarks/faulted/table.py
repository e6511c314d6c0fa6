"""The table: a row for each fault, with the figures of all fleets in each column."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from faulted.cells import ALL, BROKERS, Cell
from faulted.outcome import Outcome
from measuring.figures import Row

#: What separates the figures of the fleets, and what stands for a fleet that the fault
#: does not concern.
SEPARATOR = " / "
NOTHING = "–"

#: The columns, and the figure of a fleet in each.
COLUMNS: dict[str, Callable[[Outcome], str]] = {
    "tasks": lambda each: f"{each.published}",
    "lost": lambda each: f"{each.lost}",
    "run twice": lambda each: f"{each.twice}",
    "no result": lambda each: f"{each.without_result}",
    "errors at callers": lambda each: f"{each.refused}",
    "ended": lambda each: f"{each.ended}",
    "recovered, s": lambda each: (
        "never" if each.without_result else _number(each.recovered_s, ".1f")
    ),
    "WAL per task, kB": lambda each: _number(each.wal_bytes, ".1f", scale=1000),
    "dead rows per task": lambda each: _number(each.dead_rows, ".1f"),
}


def measured_row(broker: str, cell: Cell, outcomes: Mapping[str, Outcome]) -> Row:
    """Return the row of a cell that was measured."""
    return {f"on {BROKERS[broker]}": cell.title} | {
        column: SEPARATOR.join(
            figure(outcomes[fleet]) if fleet in outcomes else NOTHING for fleet in ALL
        )
        for column, figure in COLUMNS.items()
    }


def empty_row(broker: str, cell: Cell, why: str) -> Row:
    """Return the row of a cell that was not measured."""
    blank = dict.fromkeys(COLUMNS, "")
    return {f"on {BROKERS[broker]}": cell.title} | blank | {"tasks": why}


def _number(value: float | None, format: str, *, scale: float = 1) -> str:
    return NOTHING if value is None else f"{value / scale:{format}}"

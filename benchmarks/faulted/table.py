"""The table: for each fault, a row with the figures of each fleet."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from faulted.cells import ALL, BROKERS, Cell
from faulted.outcome import Outcome
from measuring.figures import Row

#: What stands for a figure that a fleet does not have.
NOTHING = "–"

#: The columns, and the figure of a fleet in each.
COLUMNS: dict[str, Callable[[Outcome], str]] = {
    "tasks": lambda each: f"{each.published}",
    "lost": lambda each: f"{each.lost}",
    "run twice": lambda each: f"{each.twice}",
    "no result": lambda each: f"{each.without_result}",
    "errors": lambda each: f"{each.refused}",
    "ended": lambda each: f"{each.ended}",
    "recovered, s": lambda each: (
        "never" if each.without_result else _number(each.recovered_s)
    ),
    "WAL, kB": lambda each: _number(each.wal_bytes, scale=1000),
    "dead rows": lambda each: _number(each.dead_rows),
}


def measured_rows(
    broker: str, cell: Cell, outcomes: Mapping[str, Outcome]
) -> Iterator[Row]:
    """Yield the rows of a cell that was measured; only the first one has its title."""
    title = cell.title
    for fleet in ALL:
        if fleet in outcomes:
            figures = {name: find(outcomes[fleet]) for name, find in COLUMNS.items()}
            yield _head(broker, title) | {"fleet": fleet} | figures
            title = ""


def empty_row(broker: str, cell: Cell, why: str) -> Row:
    """Return the row of a cell that was not measured."""
    blank = dict.fromkeys(COLUMNS, "")
    return _head(broker, cell.title) | {"fleet": why} | blank


def _head(broker: str, title: str) -> dict[str, str]:
    return {f"on {BROKERS[broker]}": title}


def _number(value: float | None, *, scale: float = 1) -> str:
    return NOTHING if value is None else f"{value / scale:.1f}"

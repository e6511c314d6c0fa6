"""Tables of numbers: aligned to the right, with units, and as wide as the terminal."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime
from typing import NamedTuple

from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

from cadasta.workertoolbox.results._commands.output import make_console
from cadasta.workertoolbox.results._duration_text import age_text, duration_text
from cadasta.workertoolbox.results._number_text import (
    MIN_CHANGE,
    count_text,
    find_change,
    share_text,
)
from cadasta.workertoolbox.results._safe_text import terminal_text

#: Characters between two columns.
GAP = 2

_BARS = "▁▂▃▄▅▆▇█"


class Cell(NamedTuple):
    """The text of a cell, and its style on a terminal."""

    text: str
    style: str = ""


class Column(NamedTuple):
    """A column of a table.

    Attributes:
        title: Its title.
        is_text: Whether it is aligned to the left.
        rank: On a narrow terminal, columns with the highest rank are left out first;
            those with rank 0 are always there.
    """

    title: str
    is_text: bool = False
    rank: int = 0


#: A cell with nothing in it.
BLANK = Cell("")


def print_numbers(
    columns: Sequence[Column],
    rows: Iterable[Sequence[Cell]],
    *,
    below: Sequence[Cell | None] = (),
) -> None:
    """Print a table without cutting its cells.

    Args:
        below: For each row, a cell that is printed on a line of its own below it.
    """
    cells = [[Cell(each.title, "bold") for each in columns]]
    cells += [[Cell(terminal_text(text), style) for text, style in row] for row in rows]
    widths = [
        max(cell_len(cell.text) for cell in column)
        for column in zip(*cells, strict=True)
    ]
    console = make_console()
    shown = _fitting(columns, widths, console.width)
    for row, extra in zip(cells, [None, *below, *[None] * len(cells)], strict=False):
        print_line(console, _line(row, columns, widths, shown))
        if extra is not None:
            text, style = extra
            print_line(console, [Cell("  "), Cell(terminal_text(text), style)])


def print_line(console: Console, cells: Iterable[Cell]) -> None:
    """Print cells next to each other on one line, without cutting it."""
    line = Text.assemble(*cells, overflow="ignore", no_wrap=True)
    line.rstrip()
    console.print(line, soft_wrap=True)


def _fitting(
    columns: Sequence[Column], widths: Sequence[int], width: int
) -> Sequence[int]:
    """Return the numbers of the columns that fit into a width.

    Columns without any text, such as changes that are all small, are left out.
    """
    shown = [number for number, each in enumerate(widths) if each]
    while sum(widths[number] + GAP for number in shown) - GAP > width:
        last = max(shown, key=lambda number: (columns[number].rank, number))
        if not columns[last].rank:
            break
        shown.remove(last)
    return shown


def _line(
    row: Sequence[Cell],
    columns: Sequence[Column],
    widths: Sequence[int],
    shown: Sequence[int],
) -> Iterator[Cell]:
    for number in shown:
        text, style = row[number]
        padding = Cell(" " * (widths[number] - cell_len(text)))
        cells = [Cell(text, style), padding]
        yield from cells if columns[number].is_text else reversed(cells)
        yield Cell(" " * GAP)


def count_cell(number: int | None) -> Cell:
    """Return a number as `12,345`, and a question mark if it is not known."""
    text = count_text(number)
    if number is None:
        return Cell(text, "yellow")
    return Cell(text, "" if number else "dim")


def share_cell(share: float | None) -> Cell:
    """Return a share from 0 to 1 in percent, such as `2.0 %`."""
    if share is None:
        return BLANK
    return Cell(share_text(share), "red" if share else "dim")


def duration_cell(seconds: float | None, *, style: str = "") -> Cell:
    """Return a duration as `duration_text`."""
    return Cell(duration_text(seconds), style if seconds else "dim")


def change_cell(
    now: float | None,
    before: float | None,
    *,
    more_is_worse: bool = False,
    least: float = MIN_CHANGE,
) -> Cell:
    """Return the change of a number, such as `▲ 12 %`; nothing if it is small.

    Args:
        more_is_worse: Whether a larger number is red, and a smaller one green.
        least: The smallest change that is shown, as a share of the number before.
    """
    change = find_change(now, before, least=least)
    if change is None:
        return BLANK
    styles = ("red", "green") if more_is_worse else ("", "")
    return Cell(change.text, styles[0] if change.is_more else styles[1])


def age_cell(at: datetime | None, now: datetime) -> Cell:
    """Return how long ago an instant was, such as `2.1 min ago`."""
    return Cell(age_text(at, now))


def bars(numbers: Sequence[int]) -> str:
    """Return a line of bars, the highest for the largest number; blank for zero."""
    highest = max(numbers, default=0)
    return "".join(
        _BARS[-(-number * len(_BARS) // highest) - 1] if number else " "
        for number in numbers
    )


def rate_unit(per_second: Iterable[float]) -> tuple[str, Callable[[float], Cell]]:
    """Return the unit in which rates are readable, and the cell of a rate in it.

    It is the shortest in which the highest rate is at least 1.
    """
    highest = max(per_second, default=0.0)
    units = {"s": 1, "min": 60, "h": 3_600, "d": 86_400}
    unit = next((unit for unit, size in units.items() if highest * size >= 1), "d")

    def cell(rate: float) -> Cell:
        number = rate * units[unit]
        text = f"{number:,.0f}" if number >= 100 else f"{number:.1f}"
        return Cell(text if rate else "0", "" if rate else "dim")

    return unit, cell

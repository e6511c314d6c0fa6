"""The progress of a workflow, on a terminal or in a log."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.live import Live
from rich.table import Table

from cadasta.workertoolbox.results import Task

#: The statuses in the order in which a task has them, and their colours.
STATUSES = {
    "SCHEDULED": "blue",
    "QUEUED": "blue",
    "RETRY": "yellow",
    "STARTED": "cyan",
    "SUCCESS": "green",
    "FAILURE": "red",
    "REVOKED": "red",
}


class Progress:
    """A live table of the tasks on a terminal; elsewhere, a line for each change."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._live = Live(console=console, auto_refresh=False, transient=True)
        self._line = ""

    def show(self, tasks: Iterable[Task]) -> None:
        """Show the number of tasks of each status."""
        tasks = list(tasks)
        if self._console.is_terminal:
            self._live.update(_table(tasks), refresh=True)
            return
        counts = Counter(task.status for task in tasks)
        line = ", ".join(f"{counts[s]} {s}" for s in STATUSES if counts[s])
        if line not in ("", self._line):
            self._line = line
            self._console.print(f"  {line}")

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._live.stop()


def _table(tasks: list[Task]) -> Table:
    """Return a table with a row for each task name and a column for each status."""
    counts = Counter((task.name or "?", task.status) for task in tasks)
    table = Table(box=None, pad_edge=True)
    table.add_column("task")
    for status, colour in STATUSES.items():
        table.add_column(status.lower(), style=colour, justify="right")
    for name in dict.fromkeys(name for name, _ in counts):
        cells = (counts[name, status] for status in STATUSES)
        table.add_row(name, *(str(count or "·") for count in cells))
    return table

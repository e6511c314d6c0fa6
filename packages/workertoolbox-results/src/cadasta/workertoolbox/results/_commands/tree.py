"""Drawing of a workflow as a tree."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from celery.states import EXCEPTION_STATES
from rich.cells import cell_len, chop_cells
from rich.console import Console, ConsoleOptions
from rich.segment import Segment
from rich.style import Style

from cadasta.workertoolbox.results._safe_text import json_text, terminal_text
from cadasta.workertoolbox.results._task import Task, failure_text

#: Maximum number of characters of a result on one line, and of an error.
WIDTH = 60
ERROR_WIDTH = 1000

#: Maximum number of levels that are indented, and the columns of one. Deeper tasks have
#: the number of their level instead, so that the output of a chain stays linear.
MAX_LEVELS = 20
LEVEL_WIDTH = 4

#: Share of the width that may be used for the indentation.
INDENTED_SHARE = 1 / 3

#: Styles of the statuses on a terminal; others are plain.
_STYLES = {
    "SUCCESS": "green",
    "FAILURE": "bold red",
    "REVOKED": "red",
    "RETRY": "yellow",
    "STARTED": "cyan",
    "PLANNED": "dim",
}


class Piece(NamedTuple):
    """A part of a task's line that stays on one line if it fits."""

    text: str
    style: str = ""


class _Place(NamedTuple):
    """A task in the tree.

    Attributes:
        last: For each level from the first, whether the task, or its ancestor on that
            level, is the last of its siblings; only for levels that are indented.
    """

    task: Task
    depth: int
    last: tuple[bool, ...]


@dataclass(frozen=True)
class WorkflowTree:
    """A workflow that rich draws: one or more lines for each task.

    Attributes:
        tasks: The tasks of the workflow.
        requested_id: Id of the requested task, which is marked unless it is the root.
    """

    tasks: Sequence[Task]
    requested_id: str | None = None

    def __rich_console__(
        self, console: Console, options: ConsoleOptions
    ) -> Iterator[Segment]:
        """Yield the lines, none of them wider than the console."""
        width = options.max_width
        levels = max(1, min(MAX_LEVELS, int(width * INDENTED_SHARE) // LEVEL_WIDTH))
        styles = {style: Style.parse(style) for style in _ALL_STYLES}
        for place in _places(self.tasks, self.requested_id, levels):
            marked = (
                place.task.id == self.requested_id
                and place.task.id != place.task.root_id
            )
            first, other = _guides(place, levels)
            lines = [_label(place.task, marked=marked), *_outcome(place.task)]
            if place.task.id == self.requested_id:
                lines[1:1] = _sender(place.task)
            for line in lines:
                for pieces in _wrapped(line, width - len(first)):
                    yield Segment(first)
                    for text, style in pieces:
                        yield Segment(text, styles[style])
                    yield Segment.line()
                    first = other


def workflow_tree(
    tasks: Iterable[Task], *, requested_id: str | None = None
) -> WorkflowTree:
    """Draw a workflow: the name, status, wait, run time and outcome of each task.

    Args:
        requested_id: Id of the requested task, which is marked unless it is the root.
    """
    return WorkflowTree(tuple(tasks), requested_id)


def in_order(
    tasks: Iterable[Task], *, requested_id: str | None = None
) -> Iterator[tuple[int, Task]]:
    """Yield the tasks of a workflow with their depth, parents before children.

    Celery's own tasks are left out; the tasks that they published are yielded as
    children of their parents.

    Args:
        requested_id: Id of a task that is yielded even if it is one of Celery's own.
    """
    for place in _places(tasks, requested_id, 0):
        yield place.depth, place.task


def _places(
    tasks: Iterable[Task], requested_id: str | None, levels: int
) -> Iterator[_Place]:
    known = {task.id: task for task in tasks}
    parents = _shown_parents(known)
    children: dict[str | None, list[Task]] = defaultdict(list)
    for task in known.values():
        if not task.internal or task.id == requested_id:
            children[parents[task.id]].append(task)
    pending = [_Place(task, 0, ()) for task in reversed(children[None])]
    while pending:
        place = pending.pop()
        yield place
        depth = place.depth + 1
        below = children.pop(place.task.id, [])
        for number, child in enumerate(reversed(below)):
            is_last = (number == 0,) if depth <= levels else ()
            pending.append(_Place(child, depth, place.last + is_last))


def _shown_parents(known: Mapping[str, Task]) -> dict[str, str | None]:
    """Return the id of each task's nearest ancestor that is shown, or None.

    It is also None if the ancestors form a cycle.
    """
    parents: dict[str, str | None] = {}
    cyclic: set[str] = set()
    for id in known:
        path: dict[str, None] = {}
        while id in known and id not in parents and id not in path:
            path[id] = None
            id = known[id].parent_id or ""
        is_cycle = id in path or id in cyclic
        for each in reversed(path):
            parent = known.get(known[each].parent_id or "")
            if is_cycle:
                cyclic.add(each)
                parents[each] = None
            elif parent is None or not parent.internal:
                parents[each] = None if parent is None else parent.id
            else:
                parents[each] = parents[parent.id]
    return parents


def _guides(place: _Place, levels: int) -> tuple[str, str]:
    """Return what is drawn before the first line of a task, and before its others."""
    if not place.depth:
        return "", ""
    if place.depth > levels:
        before = _lines_of(place.last[:-1])
        return f"{before}[{place.depth}] ", before + " " * LEVEL_WIDTH
    *above, is_last = place.last
    before = _lines_of(above)
    corner = "└── " if is_last else "├── "
    return before + corner, _lines_of(place.last)


def _lines_of(last: Iterable[bool]) -> str:
    return "".join("    " if is_last else "│   " for is_last in last)


def _label(task: Task, *, marked: bool) -> list[Piece]:
    name = f"{'▶ ' if marked else ''}{terminal_text(task.name or '?')}"
    pieces = [
        Piece(name, "bold"),
        Piece(terminal_text(task.status), _STYLES.get(task.status, "")),
    ]
    for phase, seconds in (("wait", task.wait_s), ("run", task.run_s)):
        if seconds is not None:
            pieces.append(Piece(f"{phase} {format_duration(seconds)}", "dim"))
    if task.retries:
        pieces.append(Piece(f"retries {task.retries}", "yellow"))
    if not task.tracked:
        pieces.append(Piece("untracked", "magenta"))
    return [*pieces, Piece(terminal_text(task.id), "dim")]


_ALL_STYLES = {"", "bold", "dim", "yellow", "magenta", *_STYLES.values()}


def _outcome(task: Task) -> Iterator[list[Piece]]:
    if task.result is None:
        return
    if task.status in EXCEPTION_STATES:
        yield [Piece(f"  {error_text(task.result)}")]
    else:
        yield [Piece(f"  → {shorten(task.result)}")]
    if task.result_bytes is not None:
        yield [Piece(f"  (the beginning of {task.result_bytes:,} bytes)", "dim")]


def _sender(task: Task) -> Iterator[list[Piece]]:
    """Yield lines with the sender and the headers of a task."""
    pieces = []
    if task.service or task.origin:
        names = " ".join(filter(None, (task.service, task.origin)))
        pieces.append(Piece(f"  from {terminal_text(names)}", "dim"))
    if task.schedule:
        pieces.append(Piece(f"schedule {terminal_text(task.schedule)}", "dim"))
    if pieces:
        yield pieces
    if task.rerun_of:
        yield [Piece(f"  rerun of {terminal_text(task.rerun_of)}", "dim")]
    if task.headers:
        yield [Piece(f"  headers {json_text(task.headers)}", "dim")]


def _wrapped(pieces: Iterable[Piece], width: int) -> Iterator[list[Piece]]:
    """Yield lines of pieces, separated by two spaces; cut pieces that do not fit."""
    line: list[Piece] = []
    used = 0
    for text, style in pieces:
        needed = cell_len(text)
        if line and used + 2 + needed > width:
            yield line
            line, used = [], 0
        if line:
            line.append(Piece("  "))
            used += 2
        *whole, text = chop_cells(text, width) if needed > width else [text]
        for part in whole:
            yield [*line, Piece(part, style)]
            line = []
        line.append(Piece(text, style))
        used = used + needed if not whole else cell_len(text)
    yield line


def error_text(result: Any) -> str:
    """Return a failure that Celery stored as `Type: message`."""
    text = failure_text(result)
    if text is None:
        return shorten(result)
    return terminal_text(text if len(text) <= ERROR_WIDTH else f"{text[:ERROR_WIDTH]}…")


def shorten(value: Any) -> str:
    """Return a value as JSON on one line of at most `WIDTH` characters."""
    text = json_text(value)
    return text if len(text) <= WIDTH else f"{text[: WIDTH - 1]}…"


def format_duration(seconds: float) -> str:
    """Return a duration as readable text: `12 ms`, `3.4 s`, `2 min 5 s`."""
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s"

"""Drawing of a workflow as a tree."""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from celery.states import EXCEPTION_STATES, SUCCESS
from rich.cells import cell_len, chop_cells
from rich.console import Console, ConsoleOptions
from rich.segment import Segment
from rich.style import Style

from cadasta.workertoolbox.results._commands.requested_task import requested_lines
from cadasta.workertoolbox.results._duration_text import duration_text
from cadasta.workertoolbox.results._safe_text import json_text, terminal_text
from cadasta.workertoolbox.results._task import Task, failure_text
from cadasta.workertoolbox.results._workflows.excerpt import Branch, make_excerpt
from cadasta.workertoolbox.results._workflows.workflow import Workflow, WorkflowNode

#: Maximum number of characters of a result on one line, and of an error.
WIDTH = 60
ERROR_WIDTH = 1000

#: Maximum number of levels that are indented, and the columns of one. Deeper tasks have
#: the number of their level instead, so that the output of a chain stays linear.
MAX_LEVELS = 20
LEVEL_WIDTH = 4

#: Share of the width that may be used for the indentation.
INDENTED_SHARE = 1 / 3

#: The mark of the tasks on the critical path.
ON_PATH = "◆"

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
    """A place in the drawn tree.

    Attributes:
        depth: Its level in the drawn tree; `branch.depth` is that in the whole tree.
        last: For each level from the first, whether the task, or its ancestor on that
            level, is the last of its siblings; only for levels that are indented.
    """

    branch: Branch
    depth: int
    last: tuple[bool, ...]


@dataclass(frozen=True)
class WorkflowTree:
    """A workflow that rich draws: one or more lines for each task.

    Attributes:
        workflow: The workflow.
        requested_id: Id of the requested task, which is marked unless it is the root.
        limit: Maximum number of tasks that are drawn; None for all.
    """

    workflow: Workflow
    requested_id: str | None = None
    limit: int | None = None

    def __rich_console__(
        self, console: Console, options: ConsoleOptions
    ) -> Iterator[Segment]:
        """Yield the lines, none of them wider than the console."""
        width = options.max_width
        levels = max(1, min(MAX_LEVELS, int(width * INDENTED_SHARE) // LEVEL_WIDTH))
        styles = {style: Style.parse(style) for style in _ALL_STYLES}
        on_path = {step.task.id for step in self.workflow.critical_path}
        reruns = self._reruns()
        branches = make_excerpt(
            self.workflow,
            [*self.workflow.walk()],
            limit=self.limit,
            requested_id=self.requested_id,
        )
        for place in _places(branches, levels):
            first, other = _guides(place, levels)
            for line in self._lines(place.branch, on_path, reruns):
                for pieces in _wrapped(line, width - len(first)):
                    yield Segment(first)
                    for text, style in pieces:
                        yield Segment(text, styles[style])
                    yield Segment.line()
                    first = other

    def _reruns(self) -> Mapping[str, Task]:
        """Return the newest run of each task that was run again."""
        ids = self.workflow.reruns
        if not ids:
            return {}
        tasks = {task.id: task for task in self.workflow}
        return {old: tasks[new] for old, new in ids.items() if new in tasks}

    def _lines(
        self, branch: Branch, on_path: Container[str], reruns: Mapping[str, Task]
    ) -> Iterator[Sequence[Piece]]:
        if branch.node is None:
            yield [Piece(f"… {left_out_text(branch.left_out or {})}", "dim")]
            return
        task = branch.node.task
        is_requested = task.id == self.requested_id
        marks = "▶ " if is_requested and task.id != task.root_id else ""
        if task.id in on_path and len(self.workflow) > 1:
            marks += f"{ON_PATH} "
        yield _label(branch.node, marks)
        if is_requested:
            for texts in requested_lines(task):
                yield [
                    Piece(f"  {texts[0]}", "dim"),
                    *(Piece(t, "dim") for t in texts[1:]),
                ]
        yield from _outcome(task)
        newest = reruns.get(task.id)
        if newest is not None:
            word = "mended by" if newest.status == SUCCESS else "run again as"
            style = _STYLES.get(newest.status, "")
            yield [Piece(f"  {word} {terminal_text(newest.id)}", style)]


def workflow_tree(
    workflow: Workflow, *, requested_id: str | None = None, limit: int | None = None
) -> WorkflowTree:
    """Draw a workflow: the name, status, wait, run time and outcome of each task.

    Args:
        requested_id: Id of the requested task, which is marked unless it is the root.
        limit: Maximum number of tasks to draw; see `make_excerpt`.
    """
    return WorkflowTree(workflow, requested_id, limit)


def left_out_text(counts: Mapping[str, int]) -> str:
    """Return how many tasks are left out, by their statuses."""
    return f"{sum(counts.values()):,} more: {counts_text(counts)}"


def counts_text(counts: Mapping[str, int]) -> str:
    """Return numbers of tasks by their statuses, the most frequent first."""
    ordered = sorted(counts.items(), key=lambda each: (-each[1], each[0]))
    return ", ".join(f"{number:,} {terminal_text(name)}" for name, number in ordered)


def _places(branches: Sequence[Branch], levels: int) -> Iterator[_Place]:
    pending = [_Place(each, 0, ()) for each in reversed(branches)]
    while pending:
        place = pending.pop()
        yield place
        depth = place.depth + 1
        for number, child in enumerate(reversed(place.branch.children)):
            is_last = (number == 0,) if depth <= levels else ()
            pending.append(_Place(child, depth, place.last + is_last))


def _guides(place: _Place, levels: int) -> tuple[str, str]:
    """Return what is drawn before the first line of a task, and before its others."""
    if not place.depth:
        return "", ""
    if place.depth > levels:
        before = _lines_of(place.last[:-1])
        return f"{before}[{place.branch.depth}] ", before + " " * LEVEL_WIDTH
    *above, is_last = place.last
    before = _lines_of(above)
    corner = "└── " if is_last else "├── "
    return before + corner, _lines_of(place.last)


def _lines_of(last: Iterable[bool]) -> str:
    return "".join("    " if is_last else "│   " for is_last in last)


def _label(node: WorkflowNode, marks: str) -> list[Piece]:
    task = node.task
    pieces = [
        Piece(f"{marks}{terminal_text(task.name or '?')}", "bold"),
        Piece(terminal_text(task.status), _STYLES.get(task.status, "")),
    ]
    for phase, seconds in (("wait", task.wait_s), ("run", task.run_s)):
        if seconds is not None:
            pieces.append(Piece(f"{phase} {duration_text(seconds)}", "dim"))
    if task.retries:
        pieces.append(Piece(f"retries {task.retries}", "yellow"))
    if node.header_id is not None:
        pieces.append(Piece("chord body", "dim"))
    if not task.tracked:
        pieces.append(Piece("untracked", "magenta"))
    return [*pieces, Piece(terminal_text(task.id), "dim")]


_ALL_STYLES = {"", "bold", "dim", "yellow", "magenta", *_STYLES.values()}


def _outcome(task: Task) -> Iterator[list[Piece]]:
    if task.result is None:
        return
    if task.not_run:
        yield [Piece(f"  {terminal_text(str(task.result))}")]
    elif task.status in EXCEPTION_STATES:
        yield [Piece(f"  {error_text(task.result)}")]
    else:
        yield [Piece(f"  → {shorten(task.result)}")]
    if task.result_bytes is not None:
        yield [Piece(f"  (the beginning of {task.result_bytes:,} bytes)", "dim")]


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

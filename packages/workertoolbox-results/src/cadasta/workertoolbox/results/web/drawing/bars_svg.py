"""The bars of a row of the page of a workflow, as SVG."""

from __future__ import annotations

from datetime import tzinfo

from markupsafe import Markup, escape

from cadasta.workertoolbox.results._duration_text import duration_text
from cadasta.workertoolbox.results.web.drawing.task_bars import (
    FAILED,
    KINDS,
    RETRIED,
)
from cadasta.workertoolbox.results.web.drawing.workflow_rows import Row
from cadasta.workertoolbox.results.web.wording.formats import visible

#: The ids of the shapes at the end of bars, which the template defines, by their kinds.
MARKS = {FAILED: "cross", RETRIED: "notch"}


def draw_bars(row: Row, zone: tzinfo) -> str:
    """Return the bars of a row; their exact values are shown on hover.

    A template would take three times as long, for the hundred rows of a page.

    Args:
        zone: The time zone of the times.
    """
    parts = [
        '<svg class="bars" height="24" width="100%" aria-hidden="true">'
        '<use href="#grid"/>'
    ]
    for bar in row.bars:
        parts.append(_rect(bar.span.kind, bar.x, bar.width))
        if bar.span.kind in MARKS:
            parts.append(f'<use href="#{MARKS[bar.span.kind]}" x="{bar.end}%"/>')
    if row.planned:
        parts.append(_rect("planned", *row.planned))
    if row.on_path and row.bars:
        first, last = row.bars[0], row.bars[-1]
        width = round(last.end - first.x, 2)
        parts.append(_rect("path", first.x, width, top=19, height=2))
    title = escape(visible(bar_title(row, zone)))
    slot = f'<rect class="slot" width="100%" height="24"><title>{title}</title></rect>'
    return Markup("".join([*parts, slot, "</svg>"]))


def _rect(kind: str, x: float, width: float, *, top: int = 8, height: int = 8) -> str:
    """Return a bar; its place and width are percents."""
    return (
        f'<rect class="{kind}" x="{x}%" y="{top}" width="{width}%" height="{height}"/>'
    )


def bar_title(row: Row, zone: tzinfo) -> str:
    """Return the exact values of the bars of a row, a line each.

    Args:
        zone: The time zone of the times.
    """
    if row.place.node is None:
        return ""
    task = row.place.node.task
    lines = [f"{task.name or task.id} {task.status}"]
    for each in (bar.span for bar in row.bars):
        words = KINDS.get(each.kind, "ran at some point in")
        since = each.since.astimezone(zone).replace(tzinfo=None)
        at = since.isoformat(" ", "milliseconds")
        lines.append(f"{words} {duration_text(each.seconds)} from {at}")
    return "\n".join(lines)

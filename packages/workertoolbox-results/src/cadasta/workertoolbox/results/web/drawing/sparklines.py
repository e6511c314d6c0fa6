"""Small charts within a line of text or a cell of a table."""

from __future__ import annotations

from collections.abc import Sequence

from markupsafe import Markup, escape

#: Width of a bar, of a bar with the gap after it, and height, in pixels.
_BAR, _STEP, _HEIGHT = 3, 4, 22


def sparkline(numbers: Sequence[float | None], title: str = "") -> str:
    """Return bars as SVG, the highest for the largest number.

    A zero is a short line, so that a reader sees where the bars begin and end.

    Args:
        numbers: None where the number is not known; there is no bar then.
        title: What they are, such as `errors in each of the last 24 hours`. It is shown
            on hover and read by screen readers, together with the largest number.
    """
    highest = max((each for each in numbers if each is not None), default=0)
    bars, zeros = [], []
    for place, number in enumerate(numbers):
        x = place * _STEP
        if number:
            height = max(number / highest * (_HEIGHT - 1), 2.0)
            bars.append(f"M{x} {_HEIGHT}v{-height:.1f}h{_BAR}V{_HEIGHT}z")
        elif number is not None:
            zeros.append(f"M{x} {_HEIGHT}v-1h{_BAR}v1z")
    label = f"{title}: at most {highest:,g}" if title else f"at most {highest:,g}"
    shown, width = escape(label), max(len(numbers) * _STEP - (_STEP - _BAR), 1)
    # Without `Markup.format`, which takes ten times as long, and pages have hundreds.
    return Markup(
        f'<svg class="sparkline" role="img" aria-label="{shown}" width="{width}"'
        f' height="{_HEIGHT}"><title>{shown}</title>'
        f'<path class="zeros" d="{"".join(zeros)}"/><path d="{"".join(bars)}"/></svg>'
    )

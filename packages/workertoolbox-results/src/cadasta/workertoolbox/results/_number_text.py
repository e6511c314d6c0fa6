"""Texts of counts, shares and changes, such as `12,345`, `2.0 %` and `▲ 12 %`."""

from __future__ import annotations

from typing import NamedTuple

#: The smallest change that is shown; that of a duration is above the error of a
#: percentile.
MIN_CHANGE = 0.01
MIN_DURATION_CHANGE = 0.1


class Change(NamedTuple):
    """The text of a change, and whether the number has grown."""

    text: str
    is_more: bool


def count_text(number: int | None) -> str:
    """Return a number as `12,345`, and a question mark if it is not known."""
    return "?" if number is None else f"{number:,}"


def counted(number: int, noun: str, plural: str | None = None) -> str:
    """Return a number with a noun: `1 task`, `1,200 tasks`."""
    return f"{number:,} {noun if number == 1 else plural or f'{noun}s'}"


def share_text(share: float | None) -> str:
    """Return a share from 0 to 1 in percent, such as `2.0 %`; nothing without one."""
    if share is None:
        return ""
    if 0 < share < 0.001:
        return "<0.1 %"
    return f"{share * 100:.0f} %" if share in (0, 1) else f"{share * 100:.1f} %"


def find_change(
    now: float | None, before: float | None, *, least: float = MIN_CHANGE
) -> Change | None:
    """Return the change of a number, such as `▲ 12 %`; None if it is small.

    Args:
        least: The smallest change that is shown, as a share of the number before.
    """
    if now is None or before is None or now == before:
        return None
    if not before:
        return Change("▲ new", True)
    change = now / before - 1
    if abs(change) < least:
        return None
    text = f"{abs(change) * 100:.0f} %" if change < 10 else f"{now / before:,.0f}×"
    return Change(f"▲ {text}", True) if change > 0 else Change(f"▼ {text}", False)

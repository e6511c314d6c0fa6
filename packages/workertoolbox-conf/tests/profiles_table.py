"""The table of profiles in the README, from the code; run, it writes it there."""

from __future__ import annotations

import json
import re
from pathlib import Path

from cadasta.workertoolbox.conf._profiles import CHOICES, Choice

README = Path(__file__).parents[1] / "README.md"

_HEAD = """\
| setting | value | for | why |
|---|---|---|---|
"""
_TABLE = re.compile(rf"{re.escape(_HEAD.splitlines()[0])}\n(\|.*\n)*")


def table() -> str:
    """Return the table as Markdown."""
    return _HEAD + "".join(map(row, CHOICES))


def with_table(text: str) -> str:
    """Return a README with its table replaced.

    Raises:
        ValueError: It has none, or several.
    """
    text, count = _TABLE.subn(lambda _: table(), text)
    if count != 1:
        raise ValueError(f"{README} has {count} tables that begin with {_HEAD}")
    return text


def row(choice: Choice) -> str:
    """Return one line of the table."""
    brokers = ", ".join(choice.brokers) or "every broker"
    if choice.late:
        brokers += ", with `task_acks_late`"
    value = choice.value
    shown = value if isinstance(value, bool) else json.dumps(value)
    cells = [f"`{choice.setting}`", f"`{shown}`", brokers, choice.reason]
    return f"| {' | '.join(cells)} |\n"


if __name__ == "__main__":
    README.write_text(with_table(README.read_text("utf-8")), "utf-8")

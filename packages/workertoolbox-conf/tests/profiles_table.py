"""The table of profiles in the README, from the code; run, it writes it there."""

from __future__ import annotations

import json

from readme import write

from cadasta.workertoolbox.conf._brokers.profiles import CHOICES, Choice

_HEAD = """\
| setting | value | for | why |
|---|---|---|---|
"""


def table() -> str:
    """Return the table as Markdown."""
    return _HEAD + "".join(map(row, CHOICES))


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
    write(table())

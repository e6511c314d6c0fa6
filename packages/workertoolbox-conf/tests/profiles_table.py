"""The README's table of presets, made from the code.

Run as a script, this module writes the table to the README.
"""

from __future__ import annotations

import json

from readme import write

from cadasta.workertoolbox.conf._brokers.profiles import PRESETS, Preset

_HEAD = """\
| setting | value | for | why |
|---|---|---|---|
"""


def table() -> str:
    """Return the table as Markdown."""
    return _HEAD + "".join(map(row, PRESETS))


def row(preset: Preset) -> str:
    """Return one line of the table."""
    brokers = ", ".join(preset.brokers) or "every broker"
    if preset.needs_acks_late:
        brokers += ", with `task_acks_late`"
    value = preset.value
    shown = value if isinstance(value, bool) else json.dumps(value)
    cells = [f"`{preset.setting}`", f"`{shown}`", brokers, preset.reason]
    return f"| {' | '.join(cells)} |\n"


if __name__ == "__main__":
    write(table())

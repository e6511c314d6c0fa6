"""The table of variables in the README, from the code; run, it writes it there."""

from __future__ import annotations

import re
from pathlib import Path

from cadasta.workertoolbox.conf._variables import (
    ARGUMENTS,
    PREFIX,
    ROUTINGS,
    VARIABLES,
    Variable,
)

README = Path(__file__).parents[1] / "README.md"

_HEAD = """\
| variable | type | default | in the environment | meaning |
|---|---|---|---|---|
"""
_TABLE = re.compile(rf"{re.escape(_HEAD.splitlines()[0])}\n(\|.*\n)*")

_TYPES = {
    "any": "text or JSON",
    "dict": "JSON object",
    "int": "integer",
    "list": "list",
    "string": "string",
}


def table() -> str:
    """Return the table as Markdown."""
    rows = {**VARIABLES, **ROUTINGS, **ARGUMENTS}
    return _HEAD + "".join(_row(name, rows[name]) for name in rows)


def with_table(text: str) -> str:
    """Return a README with its table replaced.

    Raises:
        ValueError: It has none, or several.
    """
    text, count = _TABLE.subn(lambda _: table(), text)
    if count != 1:
        raise ValueError(f"{README} has {count} tables that begin with {_HEAD}")
    return text


def _row(name: str, variable: Variable) -> str:
    default = "" if variable.default is None else f"`{variable.default}`"
    if variable.default == "":
        default = "empty"
    environment = "" if name == "ENV_PREFIX" else f"`{PREFIX}_{name.upper()}`"
    cells = [f"`{name}`", _TYPES[variable.type], default, environment, variable.meaning]
    return f"| {' | '.join(cells)} |\n"


if __name__ == "__main__":
    README.write_text(with_table(README.read_text("utf-8")), "utf-8")

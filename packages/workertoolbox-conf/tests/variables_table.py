"""The table of variables in the README, from the code; run, it writes it there."""

from __future__ import annotations

from readme import write

from cadasta.workertoolbox.conf._settings.variables import (
    ARGUMENTS,
    PREFIX,
    ROUTINGS,
    VARIABLES,
    Variable,
)

_HEAD = """\
| variable | type | default | in the environment | meaning |
|---|---|---|---|---|
"""

_TYPES = {
    "any": "text or JSON",
    "bool": "boolean",
    "dict": "JSON object",
    "int": "integer",
    "list": "list",
    "string": "string",
}


def table() -> str:
    """Return the table as Markdown."""
    rows = {**VARIABLES, **ROUTINGS, **ARGUMENTS}
    return _HEAD + "".join(_row(name, rows[name]) for name in rows)


def _row(name: str, variable: Variable) -> str:
    default = "" if variable.default is None else f"`{variable.default}`"
    if variable.default == "":
        default = "empty"
    environment = "" if name == "ENV_PREFIX" else f"`{PREFIX}_{name.upper()}`"
    cells = [f"`{name}`", _TYPES[variable.type], default, environment, variable.meaning]
    return f"| {' | '.join(cells)} |\n"


if __name__ == "__main__":
    write(table())

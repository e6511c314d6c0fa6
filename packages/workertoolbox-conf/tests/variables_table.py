"""The README's table of variables, made from the code.

Run as a script, this module writes the table to the README.
"""

from __future__ import annotations

from readme import write

from cadasta.workertoolbox.conf._settings.variables import (
    ENV_PREFIX,
    FOLDER,
    QUEUE_TYPE,
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


#: The rows of the table, in order.
ROWS = (*VARIABLES.values(), QUEUE_TYPE, FOLDER, ENV_PREFIX)


def table() -> str:
    """Return the table as Markdown."""
    return _HEAD + "".join(map(_row, ROWS))


def _row(variable: Variable) -> str:
    default = "" if variable.default is None else f"`{variable.default}`"
    if variable.default == "":
        default = "empty"
    environment = f"`{ENV_PREFIX.default}_{variable.name.upper()}`"
    cells = [
        f"`{variable.name}`",
        _TYPES[variable.type],
        default,
        "" if variable is ENV_PREFIX else environment,
        variable.meaning,
    ]
    return f"| {' | '.join(cells)} |\n"


if __name__ == "__main__":
    write(table())

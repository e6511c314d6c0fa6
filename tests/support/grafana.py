"""Expansion of macros and variables as Grafana does it for PostgreSQL.

The rules are those of `macros.go` of Grafana's PostgreSQL data source, and of its
interpolation of variables with several values.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

_MACRO = re.compile(r"\$(__\w+)\(([^)]*)\)")


def expand(
    sql: str,
    *,
    since: datetime,
    until: datetime,
    variables: Mapping[str, Sequence[str] | None],
) -> str:
    """Return the statement that Grafana sends.

    Args:
        variables: The selected values by the name of the variable; None for all, of a
            variable whose value for all is `''`.
    """
    start, end = (
        f"'{each.astimezone(UTC):%Y-%m-%dT%H:%M:%S.%fZ}'" for each in (since, until)
    )

    def macro(match: re.Match[str]) -> str:
        name, argument = match[1], match[2]
        if name == "__timeFilter":
            return f"{argument} BETWEEN {start} AND {end}"
        return {"__timeFrom": start, "__timeTo": end}[name]

    sql = _MACRO.sub(macro, sql)
    for name, values in variables.items():
        quoted = ("'" + each.replace("'", "''") + "'" for each in values or ("",))
        sql = re.sub(rf"\${name}\b", ",".join(quoted).replace("\\", r"\\"), sql)
    assert "$" not in sql, f"Grafana does not know this macro or variable: {sql}"
    return sql

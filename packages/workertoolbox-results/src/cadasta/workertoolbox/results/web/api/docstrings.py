"""Docstrings in Google's style as values: their text, and the names in a section."""

from __future__ import annotations

import inspect
import re
from collections.abc import Mapping

_SECTION = re.compile(r"(Args|Attributes|Example|Raises|Returns):$")
_ENTRY = re.compile(r"    (\w+): (.*)$")


def text_of(documented: object) -> str:
    """Return the docstring of a class or a function, without its sections."""
    lines = []
    for line in (inspect.getdoc(documented) or "").splitlines():
        if _SECTION.match(line):
            break
        lines.append(line)
    return _with_null("\n".join(lines).strip())


def entries_of(documented: object, section: str) -> Mapping[str, str]:
    """Return the names in a section, each with its description on one line.

    Args:
        section: `Args` or `Attributes`.
    """
    found: dict[str, str] = {}
    name, is_inside = "", False
    for line in (inspect.getdoc(documented) or "").splitlines():
        if header := _SECTION.match(line):
            is_inside = header[1] == section
        elif is_inside and (entry := _ENTRY.match(line)):
            name, found[entry[1]] = entry[1], entry[2]
        elif is_inside and name and line.strip():
            found[name] += f" {line.strip()}"
    return {name: _with_null(text) for name, text in found.items()}


def _with_null(text: str) -> str:
    """Return a text about Python for readers of JSON."""
    return re.sub(r"\bNone\b", "null", text)

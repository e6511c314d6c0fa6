"""The README of conf, and the tables in it that are made from the code."""

from __future__ import annotations

import re
from pathlib import Path

README = Path(__file__).parents[1] / "README.md"


def with_table(text: str, table: str) -> str:
    """Return the text of a README, in which a table with the same head is replaced.

    Raises:
        ValueError: The README has no such table, or several.
    """
    head = table.partition("\n")[0]
    text, count = re.subn(rf"{re.escape(head)}\n(\|.*\n)*", lambda _: table, text)
    if count != 1:
        raise ValueError(f"{README} has {count} tables that start with {head}")
    return text


def write(table: str) -> None:
    """Replace a table in the README."""
    README.write_text(with_table(README.read_text("utf-8"), table), "utf-8")

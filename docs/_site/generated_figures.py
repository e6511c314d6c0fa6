"""The figures that benchmarks have written."""

from __future__ import annotations

from pathlib import Path

FOLDER = Path(__file__).parents[1] / "explanation" / "figures"

#: The benchmarks, in the order of the page.
ORDER = (
    *("publish", "ingest", "archiver", "results", "imports"),
    *("history", "queries", "web", "purge", "memory", "soak", "chaos"),
)


def text() -> str:
    """Return the sections of all benchmarks that have written their figures."""
    files = (FOLDER / f"{name}.md" for name in ORDER)
    return "\n".join(file.read_text("utf-8") for file in files if file.exists())

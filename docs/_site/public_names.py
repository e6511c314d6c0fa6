"""References to public names, which annotations spell with their private modules."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx.addnodes import pending_xref
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment

PAGES = Path(__file__).parents[1] / "reference" / "python"

#: The packages that the reference describes.
PACKAGES = [
    name
    for page in sorted(PAGES.glob("*.md"))
    for name in re.findall(r"automodule:: (\S+)", page.read_text("utf-8"))
]


def setup(app: Sphinx) -> dict[str, Any]:
    """Resolve the names, and leave out the docstrings of packages."""
    app.connect("missing-reference", _resolve)
    app.connect("autodoc-process-docstring", _adapt_docstring)
    return {"parallel_read_safe": True}


def _resolve(
    app: Sphinx, env: BuildEnvironment, node: pending_xref, text: nodes.TextElement
) -> nodes.reference | None:
    if node["refdomain"] != "py":
        return None
    name = node["reftarget"].rpartition(".")[2]
    domain = env.get_domain("py")
    for package in PACKAGES:
        found = domain.objects.get(f"{package}.{name}")  # type: ignore[attr-defined]
        if found is not None:
            return domain.resolve_xref(
                env,
                node["refdoc"],
                app.builder,
                "obj",
                f"{package}.{name}",
                node,
                text,
            )  # type: ignore[return-value]
    return None


def _adapt_docstring(
    app: Sphinx, what: str, name: str, obj: Any, options: Any, lines: list[str]
) -> None:
    if what == "module":
        # It is an example for people who read the code; the READMEs have longer ones.
        lines.clear()
    lines[:] = _with_tables(lines)


def _with_tables(lines: list[str]) -> Iterator[str]:
    """Yield the lines of a docstring, with tables of Markdown as those of Sphinx."""
    before = ""
    for line in lines:
        is_row = line.startswith("| ")
        if is_row and not before.startswith("|"):
            yield from (".. list-table::", "   :header-rows: 1", "")
        if is_row:
            first, *others = line.strip("| ").split(" | ")
            yield f"   * - {first}"
            yield from (f"     - {each}" for each in others)
        elif not line.startswith("|--"):
            yield line
        before = line

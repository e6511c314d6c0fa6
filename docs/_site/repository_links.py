"""Links of the READMEs and pages, which are relative to files of the repository.

They are correct where the files are. On the site, a link to a page goes to that page,
and a link to a file that the site does not have becomes its text.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

from sphinx.application import Sphinx

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"

#: Files outside of this folder that a page includes, with the page.
INCLUDED = {
    ROOT / "README.md": DOCS / "index.md",
    ROOT / "CONTRIBUTING.md": DOCS / "contributing.md",
    **{
        ROOT / f"packages/workertoolbox-{name}/README.md": DOCS / f"reference/{name}.md"
        for name in ("routing", "results", "conf")
    },
}

_LINK = re.compile(r"(!?)\[([^\]\[]*)\]\(([^)\s:]+?)(#[^)\s]*)?\)")


def on_site(text: str, file: Path, page: Path) -> str:
    """Return Markdown with links for the site.

    Args:
        file: The file that the text is from.
        page: The page that shows it.
    """

    def replace(link: re.Match[str]) -> str:
        image, label, path, anchor = link.groups("")
        target = (file.parent / path).resolve()
        target = INCLUDED.get(target, target)
        if not target.exists():
            return link[0]  # Sphinx warns of it.
        if not target.is_relative_to(DOCS) or target.is_dir():
            return label
        return f"{image}[{label}]({os.path.relpath(target, page.parent)}{anchor})"

    return _LINK.sub(replace, text)


def setup(app: Sphinx) -> dict[str, Any]:
    """Rewrite the links of pages, and of the files that they include."""

    def read_page(app: Sphinx, name: str, text: list[str]) -> None:
        page = DOCS / f"{name}.md"
        text[0] = on_site(text[0], page, page)

    def read_included(app: Sphinx, file: Path, parent: str, text: list[str]) -> None:
        page = DOCS / f"{app.env.docname}.md"
        text[0] = on_site(text[0], (DOCS / file).resolve(), page)

    app.connect("source-read", read_page)
    app.connect("include-read", read_included)
    return {"parallel_read_safe": True}

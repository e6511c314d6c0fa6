"""A Markdown copy of each page, and `llms.txt`, which lists the copies."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx

_INTRODUCTION = """\
# workertoolbox

> Know what happened to every Celery task, on any broker, SQS included. Three Python
> packages publish each task to its queue and to a monitor queue, store tasks and
> results in a SQL database, and show them by commands, a Python API, SQL and web pages.

"""


def setup(app: Sphinx) -> dict[str, Any]:
    """Write `llms.txt` after the copies."""
    # The asterisk before parameters that are keywords only. Its text is enough.
    nothing = (lambda *_: None, lambda *_: None)
    app.add_node(nodes.abbreviation, override=True, markdown=nothing)
    app.connect("build-finished", _write)
    return {"parallel_read_safe": True}


def _write(app: Sphinx, error: Exception | None) -> None:
    if error is None and app.builder.name == "markdown":
        lines = [_line(app, page) for page in sorted(app.env.found_docs)]
        text = _INTRODUCTION + "".join(lines)
        (Path(app.outdir) / "llms.txt").write_text(text, "utf-8")


def _line(app: Sphinx, page: str) -> str:
    """Return the link to a page, with the first sentence of its first paragraph."""
    link = f"- [{app.env.titles[page].astext()}]({page}.md)"
    [section, *_] = app.env.get_doctree(page).findall(nodes.section)
    for child in section.children:
        if isinstance(child, nodes.paragraph):
            [sentence, *_] = re.split(r"(?<=[.:])\s", child.astext())
            return f"{link}: {' '.join(sentence.split())}\n"
    return f"{link}\n"

"""The parts of pages that are made from the code, or by benchmarks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import generated_endpoints
import generated_errors
import generated_figures
import generated_tables
from sphinx.application import Sphinx

PARTS = {
    "endpoints": generated_endpoints.text,
    "errors": generated_errors.text,
    "figures": generated_figures.text,
    "tables": generated_tables.text,
}


def setup(app: Sphinx) -> dict[str, Any]:
    """Write the parts before the pages are read, and only if they have changed."""
    folder = Path(app.srcdir) / "reference" / "_generated"
    folder.mkdir(exist_ok=True)
    for name, make in PARTS.items():
        file, text = folder / f"{name}.md", make()
        if not file.exists() or file.read_text("utf-8") != text:
            file.write_text(text, "utf-8")
    return {"parallel_read_safe": True}

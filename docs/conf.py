"""The documentation site: `hatch run docs:build`."""

from __future__ import annotations

import os
import sys
from pathlib import Path

DOCS = Path(__file__).parent
sys.path.insert(0, str(DOCS / "_site"))

project = "workertoolbox"
copyright = "the authors of workertoolbox"
html_title = "workertoolbox"

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.intersphinx",
    "sphinx.ext.napoleon",
    "sphinx_click",
    "generated_pages",
    "markdown_copies",
    "public_names",
    "repository_links",
]
exclude_patterns = ["_*", "**/_generated/*", "explanation/figures/*"]
html_theme = "furo"
html_theme_options = {"source_directory": "docs/"}
html_copy_source = False  # `markdown_copies` writes a copy of each page beside it.

myst_enable_extensions = ["colon_fence"]
myst_heading_anchors = 4
# Docstrings are written for people who read code: names in them stand in backticks.
default_role = "code"
autodoc_member_order = "groupwise"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True
python_display_short_literal_types = True

# A build must succeed without a network, as in CI: then names of other projects are
# plain text. With this variable, they are links.
HAS_NETWORK = bool(os.environ.get("WORKERTOOLBOX_DOCS_LINKS"))
intersphinx_mapping = (
    {
        "python": ("https://docs.python.org/3", None),
        "celery": ("https://docs.celeryq.dev/en/stable", None),
        "kombu": ("https://docs.celeryq.dev/projects/kombu/en/stable", None),
        "sqlalchemy": ("https://docs.sqlalchemy.org/en/21", None),
    }
    if HAS_NETWORK
    else {}
)
# Names that have no page here: those of other projects, whose inventories a build
# without a network does not have, and private names in annotations.
nitpick_ignore_regex = [
    ("py:.*", r"(?!cadasta\.).*"),
    ("py:.*", r"cadasta\.workertoolbox\.\w+\.(.*\.)?_.*"),
]

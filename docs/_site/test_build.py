"""Tests of the built site, the last step of `hatch run docs:build`."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[1]
SITE = DOCS.parent / "dist" / "docs"

PAGES = [
    page.relative_to(DOCS).with_suffix("")
    for page in sorted(DOCS.rglob("*.md"))
    if not {"_generated", "figures"} & {*page.parts}
]

#: A link in `llms.txt`.
LINK = re.compile(r"^- \[[^\]]+\]\(([^)]+)\)", re.MULTILINE)


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_a_page_has_a_copy_in_markdown(page: Path) -> None:
    assert (SITE / f"{page}.html").exists()
    assert re.match(r"# .+\n\n.", (SITE / f"{page}.md").read_text("utf-8"))


def test_the_list_for_language_models_has_each_copy_once() -> None:
    links = LINK.findall((SITE / "llms.txt").read_text("utf-8"))

    assert sorted(links) == sorted(f"{page}.md" for page in PAGES)


def test_the_page_of_performance_has_the_figures_of_each_benchmark() -> None:
    written = {file.stem for file in (DOCS / "explanation" / "figures").glob("*.md")}
    text = (SITE / "explanation" / "performance.md").read_text("utf-8")

    assert {*re.findall(r"^`hatch run (?:wheels:)?bench (\w+)", text, re.M)} == written

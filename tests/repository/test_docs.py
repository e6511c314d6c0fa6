"""The documents name tests and link to files that exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from cadasta.workertoolbox.results import Cause
from cadasta.workertoolbox.results._database.statuses import STATUSES

ROOT = Path(__file__).parents[2]
DOCS = {
    name: (ROOT / "docs" / folder / f"{name}.md").read_text("utf-8")
    for folder, name in (
        ("explanation", "reliability"),
        ("how-to", "adopting"),
        ("reference", "why"),
    )
}
NAMED = [
    (name, *found)
    for name, text in DOCS.items()
    for found in sorted({*re.findall(r"`([\w/.-]+\.py)::(test_\w+)`", text)})
]

#: Each document with its links to files.
LINKS = {
    file: {
        path for path in re.findall(r"\]\((?!\w+:)([^)\s#]+)", file.read_text("utf-8"))
    }
    for pattern in ("*.md", "docs/**/*.md", "packages/*/*.md", "examples/**/*.md")
    for file in ROOT.glob(pattern)
    if "_generated" not in file.parts
}

#: A row of a table of causes: the cause, and whether a test is named in its last cell.
CAUSE = re.compile(r"^\| `(\w+)` \|.*\| `[\w/.-]+\.py::test_\w+` \|$", re.MULTILINE)


def test_the_pages_name_tests() -> None:
    for name in DOCS:
        least = 5 if name == "adopting" else 11
        assert sum(each[0] == name for each in NAMED) >= least


@pytest.mark.parametrize(("page", "file", "name"), NAMED)
def test_a_test_that_a_page_names_exists(page: str, file: str, name: str) -> None:
    folder = ROOT if "/" in file else ROOT / "tests" / "integration"

    assert f"def {name}(" in (folder / file).read_text("utf-8")


@pytest.mark.parametrize("file", LINKS, ids=lambda file: str(file.relative_to(ROOT)))
def test_the_links_of_a_document_lead_to_files(file: Path) -> None:
    missing = [path for path in LINKS[file] if not (file.parent / path).exists()]

    assert not missing


def test_each_status_is_explained() -> None:
    text = (ROOT / "docs" / "reference" / "statuses.md").read_text("utf-8")

    assert sorted(re.findall(r"^\| `(\w+)`", text, re.MULTILINE)) == sorted(STATUSES)


def test_each_cause_has_a_row_with_its_test() -> None:
    assert sorted(CAUSE.findall(DOCS["why"])) == sorted(Cause)

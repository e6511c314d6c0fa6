"""The documents name tests that exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from cadasta.workertoolbox.results import Cause

ROOT = Path(__file__).parents[2]
DOCS = {
    name: (ROOT / "docs" / f"{name}.md").read_text("utf-8")
    for name in ("reliability", "why")
}
NAMED = [
    (name, *found)
    for name, text in DOCS.items()
    for found in sorted({*re.findall(r"`([\w/.-]+\.py)::(test_\w+)`", text)})
]

#: A row of a table of causes: the cause, and whether a test is named in its last cell.
CAUSE = re.compile(r"^\| `(\w+)` \|.*\| `[\w/.-]+\.py::test_\w+` \|$", re.MULTILINE)


def test_the_pages_name_tests() -> None:
    for name in DOCS:
        assert sum(each[0] == name for each in NAMED) > 10


@pytest.mark.parametrize(("page", "file", "name"), NAMED)
def test_a_test_that_a_page_names_exists(page: str, file: str, name: str) -> None:
    folder = ROOT if "/" in file else ROOT / "tests" / "integration"

    assert f"def {name}(" in (folder / file).read_text("utf-8")


def test_each_cause_has_a_row_with_its_test() -> None:
    assert sorted(CAUSE.findall(DOCS["why"])) == sorted(Cause)

"""The documents name tests that exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
RELIABILITY = (ROOT / "docs" / "reliability.md").read_text("utf-8")
NAMED = re.findall(r"`([\w/.-]+\.py)::(test_\w+)`", RELIABILITY)


def test_the_reliability_page_names_tests() -> None:
    assert len(NAMED) > 20


@pytest.mark.parametrize(("file", "name"), NAMED)
def test_a_test_that_the_reliability_page_names_exists(file: str, name: str) -> None:
    folder = ROOT if "/" in file else ROOT / "tests" / "integration"

    assert f"def {name}(" in (folder / file).read_text("utf-8")

"""What the documents say is true of the repository."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PROMISES = (ROOT / "docs" / "reliability.md").read_text("utf-8")
NAMED = re.findall(r"`([\w/.-]+\.py)::(test_\w+)`", PROMISES)


def test_there_are_tests_named() -> None:
    assert len(NAMED) > 20


@pytest.mark.parametrize(("file", "name"), NAMED)
def test_a_test_that_a_promise_names_exists(file: str, name: str) -> None:
    folder = ROOT if "/" in file else ROOT / "tests" / "integration"

    assert f"def {name}(" in (folder / file).read_text("utf-8")

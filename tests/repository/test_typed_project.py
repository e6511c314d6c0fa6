"""`tests/typed_project`, which type checkers read, uses each public name."""

from __future__ import annotations

import ast
import re
from collections import Counter
from importlib import import_module
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[1] / "typed_project"

#: The pages of the reference, which name the public packages.
PAGES = PROJECT.parents[1] / "docs" / "reference" / "python"
PACKAGES = [
    name
    for page in sorted(PAGES.glob("*.md"))
    for name in re.findall(r"automodule:: (\S+)", page.read_text("utf-8"))
]

#: What pytest finds by itself in a module that `pytest_plugins` names.
USED_BY_PYTEST = ("pytest_addoption", "toolbox_")


def used(package: str) -> set[str]:
    """Return the names of a package that the project imports and uses."""
    found = set()
    for path in PROJECT.glob("*.py"):
        tree = ast.parse(path.read_text("utf-8"))
        names = Counter(
            node.id for node in ast.walk(tree) if isinstance(node, ast.Name)
        )
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and node.module == package:
                found |= {
                    alias.name
                    for alias in node.names
                    if names[alias.asname or alias.name]
                }
    return found


@pytest.mark.parametrize("package", PACKAGES)
def test_the_project_uses_each_public_name(package: str) -> None:
    public = {
        name
        for name in import_module(package).__all__
        if not name.startswith(USED_BY_PYTEST)
    }

    assert public - used(package) == set()

"""Each package declares the distributions that it imports, and nothing else."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from functools import cache
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ["routing", "results", "conf"]

#: Distributions that a package declares, but whose modules it does not name in an
#: import: drivers that SQLAlchemy loads, and libraries that kombu loads.
LOADED_BY_OTHERS = {"boto3", "packaging", "psycopg2-binary"}


@cache
def project(package: str) -> dict[str, Any]:
    """Return the project table of a package."""
    path = ROOT / "packages" / f"workertoolbox-{package}" / "pyproject.toml"
    table: dict[str, Any] = tomllib.loads(path.read_text("utf-8"))["project"]
    return table


def requirements(package: str) -> dict[str, str]:
    """Return the requirements of a package and its extras, by distribution."""
    groups = [project(package)["dependencies"]]
    groups += project(package)["optional-dependencies"].values()
    return {
        re.split(r"[^\w.-]", each)[0].lower(): each
        for group in groups
        for each in group
    }


def imported(package: str) -> set[str]:
    """Return the distributions whose modules a package imports."""
    source = ROOT / "packages" / f"workertoolbox-{package}" / "src"
    top_level = set()
    for path in source.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Import):
                top_level |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                parts = str(node.module).split(".")
                is_ours = parts[0] == "cadasta"
                top_level.add(f"workertoolbox-{parts[2]}" if is_ours else parts[0])
    distributions = packages_distributions()
    return {
        distributions.get(name, [name])[0].lower().replace("_", "-")
        for name in top_level - {*sys.stdlib_module_names, f"workertoolbox-{package}"}
    }


@pytest.mark.parametrize("package", PACKAGES)
def test_what_a_package_imports_is_declared(package: str) -> None:
    assert imported(package) - requirements(package).keys() == set()


@pytest.mark.parametrize("package", PACKAGES)
def test_what_a_package_declares_is_imported(package: str) -> None:
    unused = requirements(package).keys() - imported(package)

    assert unused <= LOADED_BY_OTHERS


@pytest.mark.parametrize("package", PACKAGES)
def test_a_requirement_names_the_oldest_release_that_works(package: str) -> None:
    without = [
        each
        for each in requirements(package).values()
        if not re.search(">=[0-9]", each)
    ]

    assert without == []


@pytest.mark.parametrize("package", ["routing", "conf"])
def test_brokers_and_databases_are_extras(package: str) -> None:
    extras = project(package)["optional-dependencies"]
    required = " ".join(project(package)["dependencies"])

    assert {"postgresql", "redis", "sqs"} <= extras.keys()
    assert not re.search("boto|redis|psycopg|sqs|postgresql", required)

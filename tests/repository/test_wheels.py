"""The contents of the built wheels. `hatch run wheels:test` runs these tests."""

from __future__ import annotations

import importlib.metadata
import json
import os

import pytest

PARTS = ["routing", "results", "conf"]


@pytest.fixture(params=PARTS)
def part(request: pytest.FixtureRequest) -> str:
    """Each part of the namespace; skipped if it is not installed from a wheel."""
    part: str = request.param
    if is_editable(f"workertoolbox-{part}") and not os.environ.get("CI"):
        pytest.skip("the packages are editable here; use `hatch run wheels:test`")
    return part


def is_editable(distribution: str) -> bool:
    """Return whether a distribution is installed in editable mode."""
    # Installers write this record if the source is not an index (PEP 610).
    origin = importlib.metadata.distribution(distribution).read_text("direct_url.json")
    directory = json.loads(origin or "{}").get("dir_info", {})
    return directory.get("editable", False) is True


def modules(part: str) -> list[importlib.metadata.PackagePath]:
    """Return the installed files of a part, without its metadata."""
    files = importlib.metadata.files(f"workertoolbox-{part}") or []
    return [file for file in files if not file.parts[0].endswith(".dist-info")]


def test_a_wheel_contains_only_its_part_of_the_namespace(part: str) -> None:
    folders = {file.parts[:3] for file in modules(part)}

    assert folders == {("cadasta", "workertoolbox", part)}


def test_a_wheel_is_marked_as_typed(part: str) -> None:
    marker = f"cadasta/workertoolbox/{part}/py.typed"

    assert marker in {str(file) for file in modules(part)}


def test_a_wheel_contains_its_licence(part: str) -> None:
    metadata = importlib.metadata.metadata(f"workertoolbox-{part}")

    assert metadata["License-Expression"] == "AGPL-3.0-only"
    assert metadata["License-File"] == "LICENSE"

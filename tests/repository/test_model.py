"""The models in `tests/model` keep what is promised, and name code that exists."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from model.checks import SMALL, VARIANTS, Check, Variant
from model.spin import FOLDER, SOURCE, verify
from servers.availability import skip_or_fail
from servers.executables import find_compiler, find_spin

PACKAGES = Path(__file__).parents[2] / "packages"
MODELS = sorted(FOLDER.glob("*.pml"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An empty folder for Spin, which has to be installed."""
    if find_spin() is None or find_compiler() is None:
        skip_or_fail("Spin", "spin or cc is not installed")
    return tmp_path


@pytest.mark.parametrize("check", SMALL, ids=lambda check: check.model)
def test_all_properties_of_a_model_hold_within_small_bounds(
    check: Check, folder: Path
) -> None:
    verdict = verify(check.model, check.bounds, folder)

    assert verdict.broken is None, verdict.trace
    assert verdict.states > 10_000
    assert verdict.unreached == []


@pytest.mark.parametrize("variant", VARIANTS, ids=lambda variant: variant.change)
def test_a_variant_breaks_a_property_and_its_trace_names_the_code(
    variant: Variant, folder: Path
) -> None:
    bounds = {**variant.bounds, variant.change: 1}

    verdict = verify(variant.model, bounds, folder, shortest=True)

    assert verdict.broken == variant.breaks
    assert any(SOURCE.fullmatch(step.source) for step in verdict.trace)


@pytest.mark.parametrize("model", MODELS, ids=lambda path: path.stem)
def test_each_step_of_a_model_names_its_code_or_says_what_happens(model: Path) -> None:
    text = model.read_text("utf-8")
    blocks = re.findall(r"atomic \{(?! faults)(?! held)(.*)", text)

    assert [block for block in blocks if "//" not in block] == []


@pytest.mark.parametrize("model", MODELS, ids=lambda path: path.stem)
def test_the_code_that_a_model_names_exists(model: Path) -> None:
    sources = {*SOURCE.findall(model.read_text("utf-8"))}

    assert len(sources) >= 5
    assert [source for source in sorted(sources) if not exists(source)] == []


def exists(source: str) -> bool:
    """Return whether a file under `packages/` has a function, method or class."""
    file, name = source.split(": ")
    package = f"workertoolbox-{file.partition('/')[0]}"
    path = PACKAGES / package / "src/cadasta/workertoolbox" / file
    if not path.is_file():
        return False
    text = path.read_text("utf-8")
    if path.suffix == ".sql":
        return re.search(rf"CREATE\b.*\b{name}\b", text) is not None
    body: list[ast.stmt] = ast.parse(text).body
    for part in name.split("."):
        kinds = (ast.FunctionDef, ast.ClassDef)
        found = [each for each in body if isinstance(each, kinds) and each.name == part]
        if not found:
            return False
        body = found[0].body
    return True

"""Benchmarks write their figures into the documentation, which shows each of them."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BENCHMARKS = ROOT / "benchmarks"
FIGURES = ROOT / "docs" / "explanation" / "figures"
GENERATOR = ROOT / "docs" / "_site" / "generated_figures.py"

#: A benchmark of two tables, the second of which has an option in it.
SUMS = '''\
"""How fast Python adds.

Two numbers are added.
"""
from measuring.figures import compared

def measure(*options):
    yield compared("a sum", "2/s", "a | b 1/s", "2.00 × the rate", goal="at least 1")
    yield {"numbers": " ".join(options), "memory": "1 MiB"}
'''


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the benchmark `sums`."""
    (tmp_path / "sums.py").write_text(SUMS, "utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.syspath_prepend(BENCHMARKS)
    return tmp_path


def run(folder: Path, *arguments: str) -> int:
    """Run a benchmark of a folder as `hatch run bench` does."""
    main = runpy.run_path(str(BENCHMARKS / "run.py"))["main"]
    return int(main([*arguments], names=["sums"], figures=folder))


def test_a_benchmark_writes_its_figures_with_the_machine_and_versions(
    folder: Path,
) -> None:
    assert run(folder, "sums", "--write", "--rows", "7") == 0

    text = (folder / "sums.md").read_text("utf-8")
    title, how, first, second, made = text.split("\n\n")
    assert (title, how) == ("## How fast Python adds", "Two numbers are added.")
    assert first.splitlines() == [
        "| measured | toolbox | compared with | ratio | goal |",
        "|---|---|---|---|---|",
        "| a sum | 2/s | a &#124; b 1/s | 2.00 × the rate | at least 1 |",
    ]
    assert second.splitlines()[-1] == "| --rows 7 | 1 MiB |"
    assert re.fullmatch(
        r"`hatch run (wheels:)?bench sums --rows 7`, \d{4}-\d\d-\d\d: \d+ cores of .+, "
        r"\d+ GiB, load [\d.]+ before it began; "
        r"Python [\d.]+, celery [\d.]+, .*, workertoolbox-results [\d.]+.*\.\n",
        made,
    )


def test_a_benchmark_only_prints_its_figures_without_the_option(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(folder, "sums", "7") == 0

    assert not (folder / "sums.md").exists()
    lines = [re.split(r" {2,}", each) for each in capsys.readouterr().out.splitlines()]
    assert lines[1] == [*("a sum", "2/s", "a | b 1/s", "2.00 × the rate", "at least 1")]
    assert lines[2:] == [["numbers", "memory"], ["7", "1 MiB"]]


def test_the_documentation_shows_the_figures_of_each_benchmark() -> None:
    generator = runpy.run_path(str(GENERATOR))
    benchmarks = {file.stem for file in BENCHMARKS.glob("*.py")} - {"run"}
    written = {file.stem for file in FIGURES.glob("*.md")}
    titles = re.findall(r"^## .*[^.]$", generator["text"](), re.MULTILINE)

    assert sorted(generator["ORDER"]) == sorted(benchmarks)
    assert written <= benchmarks
    assert len(titles) == len(written) > 0

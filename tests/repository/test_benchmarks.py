"""Benchmarks write their figures into the documentation, which shows each of them."""

from __future__ import annotations

import json
import re
import runpy
from importlib import import_module
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


def test_the_journal_of_a_fleet_shows_what_a_fault_has_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(BENCHMARKS)
    fleets, outcome = map(import_module, ("faulted.fleets", "faulted.outcome"))
    fleet = fleets.Fleet(fleets.REDIS, tmp_path, {}, None, ended=["worker"])
    (tmp_path / "run").write_text("a 1.0\nb 2.0\nb 3.0\nc 4.0\nhal", "utf-8")
    (tmp_path / "refused").write_text("OperationalError 2.5\n", "utf-8")
    seen = import_module("faulted.observer").Observation(
        published_s={"a": 1.0, "b": 2.0, "c": 3.5, "d": 4.0},
        finished_s={"a": 1.5, "b": 6.0, "c": 4.0},
    )

    found = outcome.summarize(fleet, seen, fault_s=1.8, lifted_s=5.0)
    assert found == outcome.Outcome(
        published=4,
        lost=1,
        twice=1,
        without_result=1,
        refused=1,
        ended=1,
        recovered_s=1.0,
        wal_bytes=None,
        dead_rows=None,
    )


def test_the_chaos_table_shows_cells_that_were_not_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(BENCHMARKS)
    kept = tmp_path / "kept"
    figures = dict.fromkeys(("published", "lost", "twice", "without_result"), 0.0)
    figures |= {"refused": 2, "ended": 0, "recovered_s": 1.5}
    figures |= {"wal_bytes": 5000.0, "dead_rows": 4.0}
    kept.write_text(json.dumps(["sqs monitor", {"toolbox": figures}]), "utf-8")

    rows = list(import_module("chaos").measure("--keep", str(kept), "--cells"))
    shown = {(*row.items(),)[0]: (row["fleet"], row["WAL, kB"]) for row in rows}
    assert shown[("on RabbitMQ", "the monitor is killed")] == ("not run", "")
    assert shown[("on SQS", "the monitor is killed")] == ("toolbox", "5.0")
    assert shown[("on SQS", "the broker is killed, 3 s")] == ("not possible", "")

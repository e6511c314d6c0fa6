"""Run a benchmark: `hatch run bench NAME [--write]`, with options if it has any."""

from __future__ import annotations

import os
import sys
from importlib import import_module
from pathlib import Path

HERE = Path(__file__).parent
NAMES = sorted(file.stem for file in HERE.glob("*.py") if file.stem != "run")

#: The option that writes the figures into the documentation, and where.
WRITE = "--write"
FIGURES = HERE.parent / "docs" / "explanation" / "figures"


def main(arguments: list[str], *, names: list[str], figures: Path = FIGURES) -> int:
    """Run one benchmark and return the exit code.

    Args:
        arguments: The name, and options.
        names: The benchmarks, which are modules on the path.
        figures: The folder into which `--write` writes.
    """
    if not arguments or arguments[0] not in names:
        print(f"usage: hatch run bench {'|'.join(names)} [{WRITE}]", file=sys.stderr)
        return 2
    from measuring.figures import as_markdown, show

    name, *options = (each for each in arguments if each != WRITE)
    benchmark, load = import_module(name), os.getloadavg()[0]
    rows = list(show(benchmark.measure(*options)))
    if WRITE in arguments:
        text = as_markdown(benchmark, options, rows, load=load)
        (figures / f"{name}.md").write_text(text, "utf-8")
    return 0


if __name__ == "__main__":
    sys.path.insert(0, str(HERE.parent / "tests"))
    sys.exit(main(sys.argv[1:], names=NAMES))

"""Run a benchmark: `hatch run bench NAME`, with options if it has any."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

HERE = Path(__file__).parent
NAMES = sorted(file.stem for file in HERE.glob("*.py") if file.stem != "run")


def main(arguments: list[str]) -> int:
    """Run one benchmark and return the exit code."""
    if not arguments or arguments[0] not in NAMES:
        print(f"usage: hatch run bench {'|'.join(NAMES)}", file=sys.stderr)
        return 2
    sys.argv[:] = arguments
    sys.path[:0] = [str(HERE), str(HERE.parent / "tests")]
    runpy.run_path(str(HERE / f"{arguments[0]}.py"), run_name="__main__")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

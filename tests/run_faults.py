"""Run fleets under faults: `hatch run faults`; a short form is in the shared suite."""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from pathlib import Path
from random import randrange

from faults.environment import FAULT_KINDS
from faults.fleet import run_fleet

#: Tasks for each fault, so that a fleet works as it should in between.
TASKS_PER_FAULT = 50

#: Seconds that a fault lasts at most: longer than a visibility timeout in these fleets.
LONGEST_S = 7.0

#: Seconds for the next fault to come due, and for the fleet to become quiet at the end.
TIMEOUT_S = 600.0


def main(arguments: list[str]) -> int:
    """Run a fleet on each broker asked for; return 1 if one of them fails."""
    parser = argparse.ArgumentParser(prog="faults", description=__doc__)
    parser.add_argument("--broker", choices=[*FAULT_KINDS, "all"], default="all")
    parser.add_argument("--tasks", type=int, default=5000)
    parser.add_argument("--seed", type=int, default=randrange(10**6))
    asked = parser.parse_args(arguments)
    code = 0
    for name in FAULT_KINDS if asked.broker == "all" else [asked.broker]:
        folder = Path(tempfile.mkdtemp(prefix=f"workertoolbox-faults-{name}-"))
        try:
            run_fleet(
                name,
                folder,
                tasks=asked.tasks,
                faults=max(1, asked.tasks // TASKS_PER_FAULT),
                seed=asked.seed,
                longest_s=LONGEST_S,
                timeout_s=TIMEOUT_S,
                print_output=False,
            )
        except (AssertionError, ChildProcessError, TimeoutError) as error:
            print(f"{name}: seed {asked.seed} FAILED, files in {folder}: {error}")
            code = 1
        else:
            shutil.rmtree(folder)
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""Run fleets under random faults: `hatch run faults`.

`test_faults.py` and `test_archiver_faults.py` are shorter.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from pathlib import Path
from random import randrange

from sqlalchemy.exc import DBAPIError

from faults.archiver_fleet import run_archiver_fleet
from faults.environment import FAULT_KINDS
from faults.fleet import run_fleet
from faults.warm_stops import stop_workers
from servers import postgresql, redis
from upgrades.rehearsal import rehearse_on

#: Tasks for each fault, so that a fleet works without faults in between.
TASKS_PER_FAULT = 50

#: Longest duration of a fault in seconds: longer than the visibility timeout.
LONGEST_S = 7.0

#: Seconds to wait for the next fault, and for a fleet to become idle at the end.
TIMEOUT_S = 600.0

#: Tasks in the database of a fleet that is upgraded.
OLD_TASKS = 5_000_000


def main(arguments: list[str]) -> int:
    """Run a fleet on each requested broker, and return an exit code."""
    parser = argparse.ArgumentParser(prog="faults", description=__doc__)
    parser.add_argument(
        "--broker",
        choices=[*FAULT_KINDS, "all"],
        default="all",
        help="broker of the fleet (default: each in turn)",
    )
    parser.add_argument(
        "--tasks",
        type=int,
        default=5000,
        help="least number of tasks to publish (default: %(default)s)",
    )
    parser.add_argument(
        "--seed",
        type=int,
        default=randrange(10**6),
        help="determines faults and workflows (default: a random number)",
    )
    parser.add_argument(
        "--stops",
        type=int,
        metavar="COUNT",
        help="instead, stop so many workers of each pool, with and without events",
    )
    parser.add_argument(
        "--upgrade",
        type=int,
        nargs="?",
        const=OLD_TASKS,
        metavar="TASKS",
        help=f"instead, upgrade a fleet with so many old tasks (default: {OLD_TASKS})",
    )
    parser.add_argument(
        "--archiver",
        type=int,
        metavar="FAULTS",
        help="instead, inject so many faults into archivers beside a fleet that writes",
    )
    options = parser.parse_args(arguments)
    if options.archiver:
        return _fault_archivers(options.archiver, options.seed)
    if options.upgrade:
        return _rehearse_upgrade(options.upgrade)
    if options.stops:
        folder = Path(tempfile.mkdtemp(prefix="workertoolbox-stops-"))
        failures = stop_workers(folder, count=options.stops)
        print(*failures, sep="\n")
        return 1 if failures else 0
    code = 0
    for name in FAULT_KINDS if options.broker == "all" else [options.broker]:
        folder = Path(tempfile.mkdtemp(prefix=f"workertoolbox-faults-{name}-"))
        try:
            run_fleet(
                name,
                folder,
                tasks=options.tasks,
                faults=max(1, options.tasks // TASKS_PER_FAULT),
                seed=options.seed,
                longest_s=LONGEST_S,
                timeout_s=TIMEOUT_S,
                print_output=False,
            )
        except (AssertionError, ChildProcessError, TimeoutError) as error:
            print(f"{name}: FAILED with seed {options.seed}; see {folder}: {error}")
            code = 1
        else:
            shutil.rmtree(folder)
    return code


def _fault_archivers(faults: int, seed: int) -> int:
    print(f"archiver: {faults} faults, seed {seed}", flush=True)
    folder = Path(tempfile.mkdtemp(prefix="workertoolbox-faults-archiver-"))
    try:
        tasks = run_archiver_fleet(
            folder, faults=faults, seed=seed, longest_s=LONGEST_S, print_output=False
        )
    except (AssertionError, ChildProcessError, OSError, DBAPIError) as error:
        print(f"archiver: FAILED with seed {seed}; see {folder}: {error}")
        return 1
    print(f"archiver: {tasks} tasks, each once in the history")
    shutil.rmtree(folder)
    return 0


def _rehearse_upgrade(tasks: int) -> int:
    folder = Path(tempfile.mkdtemp(prefix="workertoolbox-upgrade-"))
    try:
        with (
            postgresql.serve(lambda _: None, settings=postgresql.DURABLE) as databases,
            redis.serve(folder) as broker,
        ):
            rehearse_on(broker, databases, folder, tasks=tasks, report=print)
    except (AssertionError, ChildProcessError, OSError, DBAPIError) as error:
        print(f"upgrade: FAILED; see {folder}: {error}")
        return 1
    print(f"upgrade: {tasks} old tasks, each shown once and unchanged")
    shutil.rmtree(folder)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

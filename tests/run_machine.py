"""Check the toolbox against a plain model of it, in random steps: `hatch run machine`.

`test_state_machine.py` takes fewer steps, on SQLite.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from random import randrange

from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis.stateful import run_state_machine_as_test

from cadasta.workertoolbox.results import upgrade
from servers import postgresql
from state_machine.databases import Fleets, OnServer, SQLite
from state_machine.machine import Machine
from support.brokers import result_backend_url


def main(arguments: list[str]) -> int:
    """Run random examples, and return an exit code."""
    parser = argparse.ArgumentParser(prog="machine", description=__doc__)
    parser.add_argument(
        "--examples",
        type=int,
        default=1000,
        help="number of examples, each with a new database (default: %(default)s)",
    )
    parser.add_argument(
        "--steps",
        type=int,
        default=50,
        help="number of steps of an example (default: %(default)s)",
    )
    parser.add_argument(
        "--seed",
        type=int,
        default=randrange(10**6),
        help="determines the steps (default: a random number)",
    )
    parser.add_argument(
        "--database",
        default="postgresql",
        help="`postgresql`, which is started; `sqlite`; or the URL of a server's "
        "maintenance database, in which databases are created (default: %(default)s)",
    )
    parser.add_argument(
        "--no-shrink",
        action="store_true",
        help="print the first steps that fail, not the fewest",
    )
    options = parser.parse_args(arguments)
    command = f"--examples {options.examples} --steps {options.steps}"
    print(f"{command} --seed {options.seed} --database {options.database}", flush=True)
    began_at = time.monotonic()
    try:
        with _fleets(options.database) as Machine.fleets:
            _run(options)
    except Exception as error:
        traceback.print_exception(error, limit=-1, file=sys.stdout)
        print(f"NOT as expected; repeat it with --seed {options.seed}")
        return 1
    duration_s = time.monotonic() - began_at
    print(
        f"As expected: {Machine.examples:,} examples, {Machine.steps:,} steps, "
        f"{duration_s:.0f} s"
    )
    return 0


def _run(options: argparse.Namespace) -> None:
    shrinks = () if options.no_shrink else (Phase.shrink,)
    run_state_machine_as_test(
        seed(options.seed)(Machine),
        settings=settings(
            max_examples=options.examples,
            stateful_step_count=options.steps,
            deadline=None,
            database=None,
            phases=[Phase.generate, *shrinks],
            print_blob=False,
            suppress_health_check=[*HealthCheck],
        ),
    )


@contextmanager
def _fleets(database: str) -> Iterator[Fleets]:
    if database == "sqlite":
        with tempfile.TemporaryDirectory(prefix="workertoolbox-machine-") as folder:
            yield SQLite(Path(folder))
        return
    if database != "postgresql":
        os.environ["WORKERTOOLBOX_TEST_POSTGRESQL_URL"] = database
    with postgresql.serve(lambda url: upgrade(result_backend_url(url))) as server:
        fleets = OnServer(server)
        yield fleets
        fleets.drop()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

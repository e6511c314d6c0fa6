"""What is lost, and for how long, when something fails.

Each fault is one trial on a fresh broker, PostgreSQL and Redis. Up to three fleets run
the same tasks of 50 ms on that broker at the same time, and the fault happens to all of
them: one with the toolbox, one of plain Celery with its backend for databases, and one
of plain Celery with its backend for Redis. Fleets that a fault does not concern are
left out. Not possible are faults of the broker that Amazon does not let happen, or that
its emulator cannot show.

Each fleet has a caller that publishes ten tasks a second, or four on SQS, whose
emulator is slow, and a worker of two processes; the first two have a PostgreSQL server
each, which waits for the disk; the toolbox has a monitor, which also archives. A
process that ends by itself is started again. All fleets have `task_acks_late` and
`task_track_started`, and run a task again if its process was killed; all other settings
of plain Celery are its defaults. On Redis and SQS, an unacknowledged message is
delivered again after 10 s. Redis writes to the disk before it confirms. The disk that
is filled is a file system in memory.

- *lost*: published tasks that no worker has begun, by a journal that the tasks write
  themselves, when no result has appeared for 25 s, or for 130 s where kombu needs that
  time to deliver the messages of a lost consumer again. Plain Celery acknowledges a
  task that it could not mark as started, and does not run it.
- *run twice*: tasks that workers have begun more than once, as at-least-once delivery
  allows.
- *no result*: published tasks whose result the backend does not show at the end; for
  the toolbox, in its view of all tasks, with the message that the monitor has stored.
- *errors*: tasks that could not be published, which their callers know.
- *ended*: processes that ended by themselves.
- *recovered*: seconds from the end of the fault until the last result that took longer
  than before the fault, that is 1.5 times the longest time of the six seconds before,
  plus half a second. These seconds vary with the load of the machine. "never": there
  are tasks without a result.
- *WAL* and *dead rows*: what the fleet's own server has written in the whole trial,
  divided by the tasks; for the toolbox with what the monitor and the archiver write.
"""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
import traceback
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from faulted.cells import BROKERS, CELLS, RATES, Cell
from faulted.outcome import Outcome
from faulted.table import empty_row, measured_rows
from faulted.trial import run_trial
from measuring.figures import Row
from upgrades.last_release import check_out_last_release


def measure(*options: str) -> Iterator[Row]:
    """Yield the row of each cell as soon as it is measured."""
    chosen = _parser().parse_args(options)
    kept = _Kept(chosen.keep)
    for broker in BROKERS:
        for name, cell in _cells(chosen.load_minutes).items():
            if broker not in cell.brokers:
                yield empty_row(broker, cell, "not possible")
            elif (found := kept.find(broker, name)) is not None:
                yield from measured_rows(broker, cell, found)
            elif broker not in chosen.brokers or name not in chosen.cells:
                yield empty_row(broker, cell, "not run")
            else:
                yield from _measure_cell(broker, name, cell, chosen, kept)


def _cells(load_minutes: float) -> dict[str, Cell]:
    title = f"{CELLS['load'].title}, {load_minutes:g} min"
    return {**CELLS, "load": replace(CELLS["load"], title=title)}


def _measure_cell(
    broker: str, name: str, cell: Cell, chosen: argparse.Namespace, kept: _Kept
) -> Iterator[Row]:
    folder = Path(tempfile.mkdtemp(prefix=f"workertoolbox-chaos-{broker}-{name}-"))
    try:
        outcomes = run_trial(
            broker,
            folder,
            cell.fault,
            fleets=cell.fleets,
            rate=RATES[broker],
            load_s=chosen.load_minutes * 60,
            quiet_s=cell.quiet_s(broker),
            small_disk=cell.small_disk,
            release=check_out_last_release(folder / "last") if cell.old else None,
        )
    except Exception as error:  # The other cells can still be measured.
        traceback.print_exc()
        print(f"{broker}, {name}: failed; see {folder}", flush=True)
        yield empty_row(broker, cell, f"failed: {type(error).__name__}")
        return
    kept.add(broker, name, outcomes)
    if chosen.logs:
        print(f"{broker}, {name}: see {folder}", flush=True)
    else:
        shutil.rmtree(folder)
    yield from measured_rows(broker, cell, outcomes)


class _Kept:
    """Outcomes in a file, so that a table can be measured in several runs."""

    def __init__(self, file: Path | None) -> None:
        self._file = file
        self._found: dict[str, dict[str, Outcome]] = {}
        if file is not None and file.exists():
            for line in file.read_text("utf-8").splitlines():
                cell, outcomes = json.loads(line)
                self._found[cell] = {k: Outcome(**v) for k, v in outcomes.items()}

    def find(self, broker: str, cell: str) -> dict[str, Outcome] | None:
        return self._found.get(f"{broker} {cell}")

    def add(self, broker: str, cell: str, outcomes: dict[str, Outcome]) -> None:
        if self._file is not None:
            values = {name: each.as_json() for name, each in outcomes.items()}
            with self._file.open("a", encoding="utf-8") as file:
                print(json.dumps([f"{broker} {cell}", values]), file=file)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="chaos")

    for option, names in (("--cells", CELLS), ("--brokers", BROKERS)):
        parser.add_argument(
            option, nargs="*", choices=[*names], default=[*names], help="default: all"
        )
    parser.add_argument(
        "--load-minutes",
        type=float,
        default=10.0,
        help="how long the overload lasts (default: %(default)s)",
    )
    parser.add_argument(
        "--keep",
        type=Path,
        metavar="FILE",
        help="add figures to a file, and measure only what is not in it",
    )
    parser.add_argument(
        "--logs", action="store_true", help="keep the folders with logs and journals"
    )
    return parser

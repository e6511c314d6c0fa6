"""Run all tests: `hatch run test`. Arguments are for pytest on the shared suite."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, NamedTuple

from interpreters import (
    NEXT_VERSION,
    VERSIONS,
    find_interpreters,
    select_pyenv_versions,
)

#: The Hatch of this environment. The one that started this script may not be on PATH.
HATCH = [sys.executable, "-m", "hatch"]

#: The version on which `oldest:test` runs the tests of each package.
OLDEST = "3.11"

#: Options of pytest for five processes, each with the tests of one file at a time. They
#: keep two cores busy: a test of the shared suite waits for more than half of its time.
#: `tests/conftest.py` has the order in which the files start.
PARALLEL = ["-n", "5", "--dist", "loadfile", "--no-loadscope-reorder"]

#: Variables with the URLs of external servers, which one test at a time may use.
EXTERNAL_SERVER = re.compile("WORKERTOOLBOX_TEST_.*_URL")


class Step(NamedTuple):
    """A command with the title of its output."""

    title: str
    command: Sequence[str]


def main(arguments: list[str]) -> int:
    """Run the steps until one fails, and return its exit code, or 0."""
    # Ctrl-C also interrupts the running step. Wait until it has cleaned up.
    signal.signal(signal.SIGINT, lambda *_: None)
    select_pyenv_versions()
    versions = find_interpreters()
    missing = [f"python{version}" for version in VERSIONS if version not in versions]
    if missing and (os.environ.get("CI") or not versions):
        print(f"cannot run {', '.join(missing)}; install it and put it on PATH")
        return 1
    # Where no other version is installed, the newest releases need it too.
    separate = (OLDEST, NEXT_VERSION)
    newest = ",".join(each for each in versions if each not in separate) or OLDEST
    install = [sys.executable, str(Path(__file__).with_name("install_servers.py"))]
    unit = [*HATCH, "run", f"+python={newest}", "unit:test"]
    is_parallel = not any(map(EXTERNAL_SERVER.fullmatch, os.environ))
    oldest = [*HATCH, "run", "oldest:test", *(["-n", "3"] if is_parallel else [])]
    parallel = PARALLEL if is_parallel else []
    wheels = [*HATCH, "run", "wheels:test", *parallel, *arguments]
    alone = [
        Step(f"Each package alone, on Python {newest}", unit),
        Step(f"The oldest releases that the packages declare, on {OLDEST}", oldest),
    ]
    if NEXT_VERSION in versions:
        title = f"Each package alone, on Python {NEXT_VERSION}"
        alone.append(Step(title, [*HATCH, "run", "next:test"]))
    for steps in (
        [Step("Servers", install)],
        # They wait for about a third of their time.
        alone,
        [Step("The wheels together, with real servers", wheels)],
    ):
        if (code := run_together(steps)) != 0:
            return code
    return 0


def run_together(steps: Sequence[Step]) -> int:
    """Run steps at the same time, and return the exit code of the first that failed.

    The first one prints at once, and the others one after the other when it has ended.
    """
    with ExitStack() as stack:
        outputs: list[IO[bytes] | None] = [None]
        outputs += (stack.enter_context(TemporaryFile()) for _ in steps[1:])
        print(f"==== {steps[0].title}", flush=True)
        processes = [
            stack.enter_context(
                subprocess.Popen(step.command, stdout=output, stderr=output)
            )
            for step, output in zip(steps, outputs, strict=True)
        ]
        codes = []
        for step, process, output in zip(steps, processes, outputs, strict=True):
            code = process.wait()
            # A shell reports a step that was ended by a signal as 128 plus the signal.
            codes.append(code if code >= 0 else 128 - code)
            if output is not None:
                print(f"==== {step.title}", flush=True)
                output.seek(0)
                shutil.copyfileobj(output, sys.stdout.buffer)
                sys.stdout.flush()
    return next(filter(None, codes), 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""Run all tests: `hatch run test`. Arguments are for pytest on the shared suite."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

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


def main(arguments: list[str]) -> int:
    """Run the steps until one fails, and return the exit code of the last one."""
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
    steps = [
        ("Servers", install),
        (f"Each package alone, on Python {newest}", unit),
        (f"The oldest releases that the packages declare, on {OLDEST}", oldest),
        ("The wheels together, with real servers", wheels),
    ]
    if NEXT_VERSION in versions:
        alone = f"Each package alone, on Python {NEXT_VERSION}"
        steps.insert(2, (alone, [*HATCH, "run", "next:test"]))
    for title, command in steps:
        print(f"==== {title}", flush=True)
        code = subprocess.run(command).returncode
        if code != 0:
            # A shell reports a step that was ended by a signal as 128 plus the signal.
            return code if code > 0 else 128 - code
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

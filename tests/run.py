"""Run every test: `hatch run test`. Arguments are for pytest on the shared suite."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

from interpreters import VERSIONS, find_interpreters, select_pyenv_versions

#: Hatch is a dependency of the environment this runs in: the one that started it
#: need not be on PATH.
HATCH = [sys.executable, "-m", "hatch"]

#: For pytest: most tests of the shared suite wait, so two run at once, of two files.
PARALLEL = ["-n", "2", "--dist", "loadfile"]

#: Names servers of whoever runs the tests, which serve one test at a time.
GIVEN = re.compile("WORKERTOOLBOX_TEST_.*_URL")


def main(arguments: list[str]) -> int:
    """Run the steps up to the first that fails, and return its exit code."""
    # Ctrl-C reaches the step as well; this waits until it has cleaned up.
    signal.signal(signal.SIGINT, lambda *_: None)
    select_pyenv_versions()
    versions = find_interpreters()
    missing = [f"python{version}" for version in VERSIONS if version not in versions]
    if missing and (os.environ.get("CI") or not versions):
        print(f"{', '.join(missing)} cannot be run; install it and put it on PATH")
        return 1
    install = [sys.executable, str(Path(__file__).with_name("install_servers.py"))]
    unit = [*HATCH, "run", f"+python={','.join(versions)}", "unit:test"]
    parallel = [] if any(map(GIVEN.fullmatch, os.environ)) else PARALLEL
    wheels = [*HATCH, "run", "wheels:test", *parallel, *arguments]
    for title, command in (
        ("Servers", install),
        (f"Each package alone, on Python {', '.join(versions)}", unit),
        ("The wheels together, with real servers", wheels),
    ):
        print(f"==== {title}", flush=True)
        code = subprocess.run(command).returncode
        if code != 0:
            # As a shell has it, where a signal ended the step.
            return code if code > 0 else 128 - code
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

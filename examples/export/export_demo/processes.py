"""The processes of the demo, which stop when it ends."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

#: Seconds that a process has to end before it is killed.
GRACE_S = 10.0

#: Last lines of a log to show if its process ends too early.
TAIL = 20

#: Signals that end the demo.
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class ProcessEnded(Exception):
    """A process ended before the demo did."""


@dataclass(frozen=True)
class _Process:
    name: str
    log: Path
    popen: subprocess.Popen[bytes]

    def kill(self) -> None:
        # The whole session, because a killed worker leaves its pool behind.
        with suppress(ProcessLookupError):
            os.killpg(self.popen.pid, signal.SIGKILL)


class Processes:
    """Processes that are stopped when the block ends, also by an error."""

    def __init__(self) -> None:
        self._running: list[_Process] = []

    def start(self, name: str, command: Sequence[str], *, log: Path) -> None:
        """Start a process whose output goes to a file.

        It gets a session of its own, so Ctrl-C reaches only the demo, which then
        stops the processes.
        """
        with log.open("wb") as output:
            popen = subprocess.Popen(
                [*_ending_with_us(), *command],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self._running.append(_Process(name, log, popen))

    def check(self) -> None:
        """Check that all processes are running.

        Raises:
            ProcessEnded: One has ended. The message has its last lines.
        """
        for process in self._running:
            code = process.popen.poll()
            if code is not None:
                lines = process.log.read_text("utf-8", errors="replace").splitlines()
                raise ProcessEnded(
                    f"the {process.name} ended with code {code}; the end of "
                    f"{process.log}:\n" + "\n".join(lines[-TAIL:])
                )

    def terminate(self) -> None:
        """Ask all processes to end, without waiting."""
        for process in self._running:
            process.popen.terminate()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        # A second signal must not interrupt the clean-up.
        handlers = {n: signal.signal(n, signal.SIG_IGN) for n in SIGNALS}
        self.terminate()
        deadline = time.monotonic() + GRACE_S
        for process in self._running:
            with suppress(subprocess.TimeoutExpired):
                process.popen.wait(max(0.0, deadline - time.monotonic()))
            process.kill()
            process.popen.wait()
        for number, handler in handlers.items():
            signal.signal(number, handler)


def _ending_with_us() -> list[str]:
    """Return a command prefix that stops a process on Linux if the demo is killed."""
    setpriv = shutil.which("setpriv")
    return [] if setpriv is None else [setpriv, "--pdeathsig", "TERM", "--"]

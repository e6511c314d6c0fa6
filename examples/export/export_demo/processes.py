"""The processes of the demo, none of which outlives it."""

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

#: Seconds in which a process may end in good order before it is killed.
GRACE_S = 10.0

#: Last lines of a log that are shown when its process has ended too early.
TAIL = 20

#: Signals that end the demo.
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class ProcessEnded(Exception):
    """A process ended that was to run as long as the demo."""


@dataclass(frozen=True)
class _Process:
    name: str
    log: Path
    popen: subprocess.Popen[bytes]

    def kill(self) -> None:
        # The whole session: a worker that is killed cannot take its pool along.
        with suppress(ProcessLookupError):
            os.killpg(self.popen.pid, signal.SIGKILL)


class Processes:
    """Processes that are stopped when the block ends, however it does."""

    def __init__(self) -> None:
        self._running: list[_Process] = []

    def start(self, name: str, command: Sequence[str], *, log: Path) -> None:
        """Start a process; all it says goes to a file.

        It gets a session of its own, so Ctrl-C reaches the demo alone, which then
        stops the others in good order.
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
        """Make sure that all are still running.

        Raises:
            ProcessEnded: One is not; says which, and its last lines.
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
        """Ask all to end in good order, and do not wait for it."""
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
        # Once begun, nothing may keep this from its end.
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
    """Return a command prefix that has Linux stop a process if the demo is killed."""
    setpriv = shutil.which("setpriv")
    return [] if setpriv is None else [setpriv, "--pdeathsig", "TERM", "--"]

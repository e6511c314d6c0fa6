"""Real processes, stopped by their id when the block that started them ends."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from support.polling import wait_until

#: Variables of whoever runs the tests that would beat what a test configures.
IGNORED_PREFIXES = ("CELERY_", "WORKERTOOLBOX_")

#: The folder of the service modules: the working directory of `celery -A NAME`.
SERVICE_FOLDER = Path(__file__).parent

#: Lines of a log that go into the report of a failed test.
TAIL_LINES = 200


@dataclass(frozen=True)
class Process:
    """A started process, which leads a session of its own, and its output.

    Attributes:
        popen: The process as the standard library sees it.
        log: The file with everything it wrote to standard output and error.
        stop_signal: The signal that makes it end in good order.
    """

    popen: subprocess.Popen[bytes]
    log: Path
    stop_signal: signal.Signals

    @property
    def pid(self) -> int:
        """The process id, which is the id of its session too."""
        return self.popen.pid

    @property
    def exit_code(self) -> int | None:
        """The exit code, negative for a signal; None while it runs."""
        return self.popen.poll()

    @property
    def text(self) -> str:
        """Everything written so far."""
        return self.log.read_text("utf-8", errors="replace")

    @property
    def tail(self) -> str:
        """The last lines written, as a report shows them."""
        lines = self.text.splitlines()[-TAIL_LINES:]
        return "\n".join([f"Output of {self}:", *lines])

    def wait_for(self, text: str, *, timeout_s: float = 30.0) -> str:
        """Wait until the output contains a text, and return the output.

        Raises:
            AssertionError: Not within `timeout_s` seconds.
            ChildProcessError: The process ended without having written it.
        """

        def look() -> str:
            ended = self.exit_code is not None
            output = self.text
            if text not in output and ended:
                raise ChildProcessError(f"{self} before it wrote {text!r}")

            assert text in output, f"without {text!r} in the output of {self}"
            return output

        return wait_until(look, timeout_s=timeout_s)

    def wait(self, *, timeout_s: float = 30.0) -> int:
        """Wait until the process ends by itself, and return its exit code.

        Raises:
            subprocess.TimeoutExpired: It did not within `timeout_s` seconds.
        """
        return self.popen.wait(timeout_s)

    def stop(
        self, number: signal.Signals | None = None, *, timeout_s: float = 20.0
    ) -> int:
        """Ask the process to end, wait until it has, and return its exit code.

        Raises:
            subprocess.TimeoutExpired: It did not within `timeout_s` seconds.
        """
        if self.exit_code is None:
            self.popen.send_signal(number or self.stop_signal)
        return self.wait(timeout_s=timeout_s)

    def descendants(self) -> list[int]:
        """Return the ids of its children, of theirs, and so on."""
        listed = subprocess.run(
            ["ps", "-A", "-o", "pid=,ppid="], capture_output=True, text=True, check=True
        )
        parents = {int(pid): int(ppid) for pid, ppid in _pairs(listed.stdout)}
        found = [self.pid]
        for parent in found:
            found += [pid for pid, ppid in parents.items() if ppid == parent]
        return found[1:]

    def pause(self) -> None:
        """Stop the process and its descendants where they are, as a host that hangs."""
        self._send_all(signal.SIGSTOP)

    def resume(self) -> None:
        """Have them go on."""
        self._send_all(signal.SIGCONT)

    def _send_all(self, number: signal.Signals) -> None:
        for pid in [self.pid, *self.descendants()]:
            with suppress(ProcessLookupError):
                os.kill(pid, number)

    def kill(self) -> int:
        """End the process and all its children at once, as losing a container does."""
        if self.exit_code is None:
            # Those too that lead a session of their own, as PostgreSQL's do.
            self._send_all(signal.SIGKILL)
        try:
            os.killpg(self.pid, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):
            # All have ended; macOS has the second for those not yet collected.
            pass
        return self.popen.wait()

    def __str__(self) -> str:
        name = self.log.name.rpartition("-")[0]
        state = "runs" if self.exit_code is None else f"ended with {self.exit_code}"
        return f"{name} (process {self.pid}, {state})"


@contextmanager
def running(
    command: Sequence[str | Path],
    *,
    folder: Path,
    environment: Mapping[str, str] | None = None,
    name: str = "",
    ready: Callable[[], object] | None = None,
    stop_signal: signal.Signals = signal.SIGTERM,
    death_signal: signal.Signals = signal.SIGKILL,
    timeout_s: float = 30.0,
    user: str | None = None,
    print_output: bool = True,
) -> Iterator[Process]:
    """Run a process as long as the block lasts.

    At the end its last lines are printed, and pytest puts them into the report if the
    test has failed. If the tests themselves are killed, it ends too (on Linux). For the
    kernel that is when the *thread* that started it ends: use one that outlives it.

    Args:
        folder: Its working directory, which also receives its log.
        environment: Variables beside those of this process, which lose theirs that
            begin with a name in `FOREIGN`.
        name: How to call it in messages; by default as its program.
        ready: Returns something true once the process does its work.
        stop_signal: The signal that makes it end in good order.
        death_signal: The signal it gets if the tests are killed.
        timeout_s: Seconds it gets to become ready, and to end before it is killed.
        user: The account to run under, where not the one of the tests.
        print_output: Whether to print the output at the end; False for a server that
            many tests share.

    Raises:
        AssertionError: It was not ready in time.
        ChildProcessError: It ended before it was ready.
    """
    name = name or Path(command[0]).name
    inherited = {
        k: v for k, v in os.environ.items() if not k.startswith(IGNORED_PREFIXES)
    }
    descriptor, log = tempfile.mkstemp(".log", f"{name}-", folder)
    with open(descriptor, "wb") as output:
        popen = subprocess.Popen(
            [*_dying_with_us(death_signal), *command],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=folder,
            env={**inherited, "PYTHONUNBUFFERED": "1", **(environment or {})},
            start_new_session=True,
            user=user,
            group=user,
            extra_groups=None if user is None else [],
        )
    process = Process(popen, Path(log), stop_signal)
    try:
        if ready is not None:
            _wait_until_ready(ready, process, timeout_s)
        yield process
    finally:
        try:
            process.stop(timeout_s=timeout_s)
        except subprocess.TimeoutExpired:
            print(f"{process} did not stop within {timeout_s:g} s")
        # Its children too: a worker that was killed leaves its pool behind.
        process.kill()
        if print_output:
            print(process.tail)


def _wait_until_ready(
    ready: Callable[[], object], process: Process, timeout_s: float
) -> None:
    def look() -> object:
        if process.exit_code is not None:
            raise ChildProcessError(f"{process} before it was ready")
        return ready()

    try:
        wait_until(look, timeout_s=timeout_s)
    except (AssertionError, ChildProcessError) as error:
        error.add_note(process.tail)
        raise


def _pairs(text: str) -> list[list[str]]:
    return [line.split() for line in text.splitlines()]


def _dying_with_us(number: signal.Signals) -> list[str]:
    # A program rather than `preexec_fn`, which is unsafe beside threads.
    setpriv = shutil.which("setpriv")
    return [] if setpriv is None else [setpriv, "--pdeathsig", number.name[3:], "--"]

"""Processes that run as long as a block, and are stopped by their id."""

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

#: Prefixes of variables that a started process does not inherit, because they would
#: override the configuration of a test.
IGNORED_PREFIXES = ("CELERY_", "WORKERTOOLBOX_")

#: The folder of the service modules: the working directory of `celery -A NAME`.
SERVICE_FOLDER = Path(__file__).parent

#: The number of lines of a log that the report of a failed test shows.
TAIL_LINES = 200


@dataclass(frozen=True)
class Process:
    """A started process, which leads its own session, and its output.

    Attributes:
        popen: The process object of the standard library.
        log: The file with its standard output and error.
        stop_signal: The signal for an orderly shutdown.
    """

    popen: subprocess.Popen[bytes]
    log: Path
    stop_signal: signal.Signals

    @property
    def pid(self) -> int:
        """The process id, which is also the id of its session."""
        return self.popen.pid

    @property
    def exit_code(self) -> int | None:
        """The exit code, negative after a signal; None while the process runs."""
        return self.popen.poll()

    @property
    def text(self) -> str:
        """The output so far."""
        return self.log.read_text("utf-8", errors="replace")

    @property
    def tail(self) -> str:
        """The last lines of the output, with a heading."""
        lines = self.text.splitlines()[-TAIL_LINES:]
        return "\n".join([f"Output of {self}:", *lines])

    def wait_for(self, text: str, *, timeout_s: float = 60.0) -> str:
        """Wait until the output contains a text, and return the output.

        Raises:
            AssertionError: The text did not appear within `timeout_s` seconds.
            ChildProcessError: The process ended before it wrote the text.
        """

        def check() -> str:
            ended = self.exit_code is not None
            output = self.text
            if text not in output and ended:
                raise ChildProcessError(f"{self} before it wrote {text!r}")

            assert text in output, f"without {text!r} in the output of {self}"
            return output

        return wait_until(check, timeout_s=timeout_s)

    def wait(self, *, timeout_s: float = 60.0) -> int:
        """Wait until the process exits, and return its exit code.

        Raises:
            subprocess.TimeoutExpired: It still runs after `timeout_s` seconds.
        """
        return self.popen.wait(timeout_s)

    def stop(
        self, number: signal.Signals | None = None, *, timeout_s: float = 60.0
    ) -> int:
        """Send a signal, `stop_signal` by default, and return the exit code.

        Raises:
            subprocess.TimeoutExpired: It still runs after `timeout_s` seconds.
        """
        if self.exit_code is None:
            self.popen.send_signal(number or self.stop_signal)
        return self.wait(timeout_s=timeout_s)

    def descendants(self) -> list[int]:
        """Return the process ids of its children, their children, and so on."""
        listed = subprocess.run(
            ["ps", "-A", "-o", "pid=,ppid="], capture_output=True, text=True, check=True
        )
        parents = {int(pid): int(ppid) for pid, ppid in _pairs(listed.stdout)}
        found = [self.pid]
        for parent in found:
            found += [pid for pid, ppid in parents.items() if ppid == parent]
        return found[1:]

    def pause(self) -> None:
        """Suspend the process and its descendants, as if their host hung."""
        self._send_all(signal.SIGSTOP)

    def resume(self) -> None:
        """Resume the process and its descendants."""
        self._send_all(signal.SIGCONT)

    def _send_all(self, number: signal.Signals) -> None:
        for pid in [self.pid, *self.descendants()]:
            with suppress(ProcessLookupError):
                os.kill(pid, number)

    def kill(self) -> int:
        """Kill the process and its descendants at once, as the loss of a host does."""
        if self.exit_code is None:
            # `killpg` misses children with their own session, such as PostgreSQL's.
            self._send_all(signal.SIGKILL)
        try:
            os.killpg(self.pid, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):
            # All have ended. macOS raises PermissionError for zombies.
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

    At the end its last lines are printed, and pytest adds them to the report of a
    failed test. On Linux the process also ends if the tests are killed. The kernel
    detects that by the end of the *thread* that started the process, so start it from a
    thread that lives longer than the process.

    Args:
        folder: The working directory, which also receives the log.
        environment: Variables to add to the inherited ones. Those with a prefix in
            `IGNORED_PREFIXES` are not inherited.
        name: The name in messages; by default the name of the program.
        ready: Returns a true value once the process can be used.
        stop_signal: The signal for an orderly shutdown.
        death_signal: The signal that the process gets if the tests are killed.
        timeout_s: Seconds to become ready, and to end before it is killed.
        user: The account to run under, if not that of the tests.
        print_output: Whether to print the output at the end; False for a server that
            many tests share.

    Raises:
        AssertionError: The process was not ready in time.
        ChildProcessError: The process ended before it was ready.
    """
    name = name or Path(command[0]).name
    inherited = {
        k: v for k, v in os.environ.items() if not k.startswith(IGNORED_PREFIXES)
    }
    descriptor, log = tempfile.mkstemp(".log", f"{name}-", folder)
    with open(descriptor, "wb") as output:
        popen = subprocess.Popen(
            [*_with_death_signal(death_signal), *command],
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
        # Also kill the children: a killed worker leaves its pool processes behind.
        process.kill()
        if print_output:
            print(process.tail)


def _wait_until_ready(
    ready: Callable[[], object], process: Process, timeout_s: float
) -> None:
    def check() -> object:
        if process.exit_code is not None:
            raise ChildProcessError(f"{process} before it was ready")
        return ready()

    try:
        wait_until(check, timeout_s=timeout_s)
    except (AssertionError, ChildProcessError) as error:
        error.add_note(process.tail)
        raise


def _pairs(text: str) -> list[list[str]]:
    return [line.split() for line in text.splitlines()]


def _with_death_signal(number: signal.Signals) -> list[str]:
    # A program instead of `preexec_fn`, which is not safe in a process with threads.
    setpriv = shutil.which("setpriv")
    return [] if setpriv is None else [setpriv, "--pdeathsig", number.name[3:], "--"]

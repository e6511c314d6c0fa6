"""A process that can be killed and started again."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack, suppress

from support.processes import Process


class RestartableProcess:
    """A worker, a monitor or a server.

    Args:
        run: Starts the process, and stops it at the end of the block.
        may_end_with: Texts in the output of a process that may exit by itself, because
            a supervisor is expected to start it again.
    """

    def __init__(
        self,
        run: Callable[[], AbstractContextManager[Process]],
        *,
        may_end_with: tuple[str, ...] = (),
    ) -> None:
        self._run = run
        self._may_end_with = may_end_with
        self._stack = ExitStack()
        self._process: Process | None = None

    @property
    def process(self) -> Process:
        """The running process."""
        if self._process is None:
            raise ChildProcessError("the process does not run; call start()")
        return self._process

    def start(self) -> None:
        """Start the process, for the first time or again."""
        self._process = self._stack.enter_context(self._run())

    def supervise(self) -> bool:
        """Start the process again if it has exited, and return whether it had.

        Raises:
            ChildProcessError: It exited for a reason that is not in `may_end_with`.
        """
        if self.process.exit_code is None:
            return False
        text = self.process.text
        if not any(reason in text for reason in self._may_end_with):
            raise ChildProcessError(f"{self.process} by itself: {self.process.log}")
        self.close()
        self.start()
        return True

    def kill(self) -> None:
        """Kill the process and its descendants with SIGKILL."""
        self.process.kill()
        self.close()

    def kill_pool(self) -> None:
        """Kill the descendants of the process with SIGKILL, but not the process."""
        for pid in self.process.descendants():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def close(self) -> None:
        """Stop the process, if it runs."""
        self._stack.close()
        self._process = None

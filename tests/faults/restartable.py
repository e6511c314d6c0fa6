"""A process of a fleet that can be lost and started again."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack, suppress

from support.processes import Process


class RestartableProcess:
    """A worker, a monitor or a server.

    Args:
        run: Starts it, and ends it when the block does.
        may_end_with: What its output says, one or the other, where it may end by itself
            and leave it to others to start it again.
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
        """The process that runs now."""
        if self._process is None:
            raise ChildProcessError("it does not run")
        return self._process

    def start(self) -> None:
        """Start it, for the first time or again."""
        self._process = self._stack.enter_context(self._run())

    def supervise(self) -> bool:
        """Start it again if it has ended by itself, and tell whether it had.

        Raises:
            ChildProcessError: It had, and must not.
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
        """End it and all its children by SIGKILL."""
        self.process.kill()
        self.close()

    def kill_pool(self) -> None:
        """End its children by SIGKILL, and leave itself."""
        for pid in self.process.descendants():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def close(self) -> None:
        """End it in good order, if it runs."""
        self._stack.close()
        self._process = None

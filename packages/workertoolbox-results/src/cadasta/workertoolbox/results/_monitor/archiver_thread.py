"""The thread of a monitor that moves ended tasks to the history."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

from sqlalchemy import URL

from cadasta.workertoolbox.results._database.engine import open_engine
from cadasta.workertoolbox.results._history.ended_tasks import ArchiveOptions
from cadasta.workertoolbox.results._monitor.archiving import Archiving


class ArchiverThread:
    """Archives with a database connection of its own.

    Args:
        should_stop: As for `Archiving`, like `is_busy`.
    """

    def __init__(
        self,
        url: URL,
        options: ArchiveOptions,
        *,
        should_stop: Callable[[], bool],
        is_busy: Callable[[], bool],
    ) -> None:
        self._engine = open_engine(url, pool_size=1)
        self._archiving = Archiving(
            self._engine, options, should_stop=should_stop, is_busy=is_busy
        )
        self._executor = ThreadPoolExecutor(1, "archiver")
        self._run: Future[None] | None = None

    def start(self) -> None:
        """Archive until `should_stop`."""
        self._run = self._executor.submit(self._archiving.run)

    def check(self) -> None:
        """Raise the error that has ended the thread, if there is one."""
        if self._run is not None and self._run.done():
            self._run.result()

    def shutdown(self) -> None:
        """Wait until the thread has stopped, and close its connection."""
        self._executor.shutdown()
        self._engine.dispose()

"""Messages that a reader has claimed: files that it has moved out of their queue."""

from __future__ import annotations

import fcntl
import logging
import os
import shutil
from contextlib import suppress
from pathlib import Path
from uuid import uuid4

from cadasta.workertoolbox.routing._log_text import log_text
from cadasta.workertoolbox.routing.transports._files import (
    make_folder,
    open_file,
    try_lock,
)

_logger = logging.getLogger(__name__)

#: Last character, before the queue, in the name of a message that returned to its
#: queue.
_RELEASED = "~"


class Claims:
    """The messages that one channel has read and not acknowledged.

    They lie in a folder of their own. The process holds a lock on the folder until the
    channel is closed or the process ends, even if it is killed.
    """

    def __init__(self, inbox: Path) -> None:
        self._inbox = inbox
        self._folder = inbox / "unacked" / str(uuid4())
        make_folder(self._folder)
        # The file is locked before it gets the name that other processes search for.
        unnamed = self._folder.with_suffix(".new")
        self._lock = open_file(unnamed, "wb")
        fcntl.flock(self._lock, fcntl.LOCK_EX)
        unnamed.rename(self._folder.with_suffix(".lock"))

    def claim(self, name: str) -> bytes | None:
        """Move a message out of its queue and return its content.

        Returns:
            The content, or None if it cannot be read; then the file is renamed, so that
            it is not a message any more.

        Raises:
            FileNotFoundError: Another reader has claimed it.
        """
        claimed = self._folder / name
        os.rename(self._inbox / name, claimed)
        try:
            return claimed.read_bytes()
        except OSError as error:
            unreadable = self._inbox / f"{name}.unreadable"
            os.rename(claimed, unreadable)
            _logger.error(
                "cannot read message %s: %s", log_text(str(unreadable)), log_text(error)
            )
            return None

    def delete(self, name: str) -> None:
        """Delete a claimed message."""
        (self._folder / name).unlink(missing_ok=True)

    def release(self, name: str) -> None:
        """Return a claimed message to its queue."""
        with suppress(FileNotFoundError):  # acknowledged in the meantime
            os.rename(self._folder / name, self._inbox / _released_name(name))

    def close(self) -> None:
        """Return every claimed message to its queue, and release the lock."""
        _release_all(self._folder, self._inbox)
        self._lock.close()

    def abandon(self) -> None:
        """Leave the messages and the lock to the parent of this forked process."""
        # The lock lasts until the last copy of the file is closed.
        self._lock.close()


def release_abandoned(inbox: Path) -> None:
    """Return the messages of dead readers to their queues."""
    for lock in inbox.glob("unacked/*.lock"):
        if lock.is_symlink() or not lock.is_file():
            continue  # Opening a pipe would block.
        with suppress(FileNotFoundError, PermissionError), lock.open("rb") as file:
            if try_lock(file):
                _release_all(lock.with_suffix(""), inbox)


def _release_all(folder: Path, inbox: Path) -> None:
    for claimed in folder.glob("*.msg"):
        with suppress(FileNotFoundError):
            os.rename(claimed, inbox / _released_name(claimed.name))
    shutil.rmtree(folder, ignore_errors=True)
    folder.with_suffix(".lock").unlink(missing_ok=True)


def is_released(name: str) -> bool:
    """Return whether a message has returned to its queue before."""
    return name.partition(".")[0].endswith(_RELEASED)


def _released_name(name: str) -> str:
    """Return the name of a message that returns to its queue, at the same place."""
    stem, dot, rest = name.partition(".")
    return name if stem.endswith(_RELEASED) else f"{stem}{_RELEASED}{dot}{rest}"

"""A file by which health probes can see that the monitor works."""

from __future__ import annotations

import errno
import logging
import os
import stat
import time
from pathlib import Path

from sqlalchemy import Engine
from sqlalchemy.exc import DBAPIError

from cadasta.workertoolbox.results._database.outages import one_line
from cadasta.workertoolbox.results._safe_text import log_text

_logger = logging.getLogger(__name__)

#: Seconds between two checks of the database. A probe should allow for a minute.
INTERVAL_S = 2.0


class HealthFile:
    """A file that is touched while the broker and the database can be reached."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._due_at = 0.0

    def touch_if_due(self, engine: Engine) -> None:
        """Touch the file if the interval is over and the database answers.

        Call it only while the broker is connected.
        """
        if time.monotonic() < self._due_at:
            return
        try:
            engine.connect().close()  # The pool tests a connection before use.
            _touch(self._path)
        except DBAPIError as error:
            _logger.warning("database unavailable: %s", one_line(error))
        except OSError as error:
            _logger.warning("health file cannot be touched: %s", log_text(error))
        self._due_at = time.monotonic() + INTERVAL_S

    def remove(self) -> None:
        """Remove the file, so that a stopped monitor does not look healthy."""
        try:
            if find_path_problem(self._path) is None:
                self._path.unlink(missing_ok=True)
        except OSError as error:
            _logger.warning("health file cannot be removed: %s", log_text(error))


def find_path_problem(path: Path) -> str | None:
    """Return why a health file cannot be at a path, or None.

    In a folder that others can write to, a link could lead to any file.
    """
    try:
        status = path.lstat()
    except FileNotFoundError:
        return None
    if stat.S_ISLNK(status.st_mode):
        return "is a link"
    return None if _is_plain(status) else "is not a file of its own"


def _touch(path: Path) -> None:
    """Create a file or update its time, without following a link.

    Raises:
        OSError: The path leads to anything but a file that has no other name.
    """
    flags = os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    descriptor = os.open(path, flags, 0o644)
    try:
        if not _is_plain(os.fstat(descriptor)):
            raise OSError(errno.EINVAL, "not a file of its own", str(path))
        os.utime(descriptor)
    finally:
        os.close(descriptor)


def _is_plain(status: os.stat_result) -> bool:
    return stat.S_ISREG(status.st_mode) and status.st_nlink == 1

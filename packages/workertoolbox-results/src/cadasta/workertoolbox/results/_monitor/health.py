"""A file by which a probe sees that a monitor works."""

from __future__ import annotations

import logging
import time
from pathlib import Path

from sqlalchemy import Engine
from sqlalchemy.exc import DBAPIError

_logger = logging.getLogger(__name__)

#: Seconds between two looks at the database; a probe allows for a minute.
INTERVAL_S = 2.0


class HealthFile:
    """A file that is touched while broker and database can be reached."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._due_at = 0.0

    def touch_if_due(self, engine: Engine) -> None:
        """Touch it if the database answers; the broker just has."""
        if time.monotonic() < self._due_at:
            return
        try:
            engine.connect().close()  # the pool pings what it hands out
            self._path.touch()
        except DBAPIError as error:
            _logger.warning("database away: %s", error.orig)
        except OSError as error:
            _logger.warning("health file cannot be touched: %s", error)
        self._due_at = time.monotonic() + INTERVAL_S

    def remove(self) -> None:
        """Remove it: nobody is to be found well after the end."""
        self._path.unlink(missing_ok=True)

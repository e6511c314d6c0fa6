"""A file by which health probes can see that the monitor works."""

from __future__ import annotations

import logging
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
            self._path.touch()
        except DBAPIError as error:
            _logger.warning("database unavailable: %s", one_line(error))
        except OSError as error:
            _logger.warning("health file cannot be touched: %s", log_text(error))
        self._due_at = time.monotonic() + INTERVAL_S

    def remove(self) -> None:
        """Remove the file, so that a stopped monitor does not look healthy."""
        self._path.unlink(missing_ok=True)

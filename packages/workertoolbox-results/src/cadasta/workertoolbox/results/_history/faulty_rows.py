"""Leave out rows that cannot be processed, and process the others.

Rows may have been edited by hand, or written by other programs. If processing many rows
at once fails, they are halved until the faulty ones are found.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

from sqlalchemy import Connection

from cadasta.workertoolbox.results._database.outages import is_outage, one_line
from cadasta.workertoolbox.results._safe_text import log_text

_logger = logging.getLogger(__name__)

R = TypeVar("R")
T = TypeVar("T")

#: Maximum number of faulty rows that one run looks for, because each costs about twenty
#: savepoints. Rows that it does not reach are processed in later runs.
MAX_FAULTY = 20


class FaultyRows:
    """The rows that a process has left out. Each is logged once.

    They are tried again in each run, so a row that was mended is processed.
    """

    def __init__(self) -> None:
        self._logged: set[tuple[str, str]] = set()

    def process(
        self,
        connection: Connection,
        rows: Iterable[R],
        process: Callable[[Sequence[R]], Iterable[T]],
        *,
        what: str,
        key: Callable[[R], str] = str,
    ) -> list[T]:
        """Process rows, all at once if possible, and return what `process` returns.

        Args:
            connection: In a transaction.
            process: Processes some of the rows, in a savepoint.
            what: What the rows are, for the log, such as `expired task`.
            key: Returns the id of a row.

        Raises:
            Exception: An error that does not concern single rows, such as an outage.
        """
        new: list[R] = []
        again: list[R] = []
        for row in rows:
            (again if (what, key(row)) in self._logged else new).append(row)
        parts: list[Sequence[R]] = [new] if new else []
        parts += [[row] for row in again]
        done: list[T] = []
        faulty = 0
        while parts and faulty < MAX_FAULTY:
            some = parts.pop(0)
            try:
                with connection.begin_nested():
                    done += process(some)
            except Exception as error:
                if is_outage(error):
                    raise
                if len(some) > 1:
                    middle = len(some) // 2
                    parts[:0] = [some[:middle], some[middle:]]
                else:
                    faulty += 1
                    self._log(what, key(some[0]), error)
            else:
                if len(some) == 1:
                    self._logged.discard((what, key(some[0])))
        return done

    def _log(self, what: str, id: str, error: Exception) -> None:
        if (what, id) in self._logged:
            return
        self._logged.add((what, id))
        _logger.error(
            "%s %s is left out: %s; correct or delete its row",
            what,
            log_text(id),
            one_line(error),
        )

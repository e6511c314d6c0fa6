"""Leave out rows that cannot be processed, and process the others.

Rows may have been edited by hand, or written by other programs. If processing many rows
at once fails, they are halved until the faulty ones are found.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterable, Sequence
from itertools import count
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

#: Maximum number of logged rows that a process remembers. A producer may send any
#: number of tasks whose end cannot be stored.
MAX_LOGGED = 10_000


class FaultyRows:
    """The rows that a process has left out. Each is logged once.

    They are tried again in each run, so a row that was mended is processed.

    Args:
        limit: Maximum number of faulty rows that one run looks for; None for all of
            them, because the rows are not given again.
    """

    def __init__(self, limit: int | None = MAX_FAULTY) -> None:
        self._limit = math.inf if limit is None else limit
        # Rows are tried again in the order of these numbers: the one that failed last
        # is the last.
        self._logged: dict[tuple[str, str], int] = {}
        self._numbers = count()

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
        again.sort(key=lambda row: self._logged[what, key(row)])
        parts: list[Sequence[R]] = [new] if new else []
        parts += [[row] for row in again]
        done: list[T] = []
        faulty = 0
        while parts and faulty < self._limit:
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
                    self._logged.pop((what, key(some[0])), None)
        return done

    def _log(self, what: str, id: str, error: Exception) -> None:
        is_logged = self._logged.pop((what, id), None) is not None
        self._logged[what, id] = next(self._numbers)
        if len(self._logged) > MAX_LOGGED:
            del self._logged[next(iter(self._logged))]
        if is_logged:
            return
        _logger.error(
            "%s %s is left out: %s; correct or delete its row",
            what,
            log_text(id),
            one_line(error),
        )

"""The limit of open files, which connections count towards."""

from __future__ import annotations

import errno
import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager

from cadasta.workertoolbox.results._errors import FileLimitReached

#: Descriptors that a monitor may open at the same time when it connects. If fewer are
#: free after an error, the limit is its cause.
SPARE = 4


@contextmanager
def explain_file_limit() -> Iterator[None]:
    """Name the limit of open files in place of the errors that it causes in the block.

    The errors themselves name a server or a library. Many have no number: those of
    libpq and SQLite, and the `ImportError` of a shared library.

    Raises:
        FileLimitReached: The block has failed, and the limit is reached.
    """
    try:
        yield
    except Exception as error:
        if _is_reached():
            limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
            raise FileLimitReached(str(error), limit) from error
        raise


def _is_reached() -> bool:
    """Return whether the process cannot open a few more files."""
    opened: list[int] = []
    try:
        while len(opened) < SPARE:
            opened.append(os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC))
    except OSError as error:
        return error.errno == errno.EMFILE
    finally:
        for each in opened:
            os.close(each)
    return False

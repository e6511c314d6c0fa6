"""Files and folders that several processes use.

If only its owner may enter a folder, only its owner may read what is created in it.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import BinaryIO, cast
from uuid import uuid4


def write(path: Path, text: str) -> None:
    """Write a file atomically: a reader sees all of it or none."""
    part = path.with_name(f".{uuid4()}.part")
    try:
        with open_file(part, "xb") as file:
            file.write(text.encode())
        os.replace(part, path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def make_folder(folder: Path) -> None:
    """Create a folder and its parents, unless they exist."""
    if not folder.is_dir():
        make_folder(folder.parent)
        folder.mkdir(mode=0o700 if _is_private(folder.parent) else 0o777, exist_ok=True)


def open_file(path: Path, mode: str) -> BinaryIO:
    """Open a binary file, which is created if it does not exist."""
    permissions = 0o600 if _is_private(path.parent) else 0o666
    # Passed to the call that creates the file: a reader may open it at once.
    opener = partial(os.open, mode=permissions)
    return cast(BinaryIO, open(path, mode, opener=opener))


def _is_private(folder: Path) -> bool:
    """Return whether only its owner may enter a folder."""
    return not folder.stat().st_mode & 0o077


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold an exclusive lock on a file, which is created if it does not exist."""
    with open_file(path, "ab") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        try:
            yield
        finally:
            # Closing the file does not release the lock if a process that was forked
            # meanwhile has it open too.
            fcntl.flock(file, fcntl.LOCK_UN)


def try_lock(file: BinaryIO) -> bool:
    """Lock an open file until it is closed; return whether it was free."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True

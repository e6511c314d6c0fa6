"""The files of a folder: which ones are exported, and how they are read."""

from __future__ import annotations

import math
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from export_service.table import Row

#: Folders whose contents tools can make again.
SKIPPED = {
    ".git",
    ".hg",
    ".svn",
    ".tox",
    ".nox",
    ".venv",
    ".workertoolbox",
    "__pycache__",
    "dist",
    "node_modules",
}

#: Files that mark their folder as a cache (https://bford.info/cachedir) or as a
#: virtual environment (PEP 405).
MARKERS = ("CACHEDIR.TAG", "pyvenv.cfg")

#: The beginning of the names of folders in which exports keep their parts.
PARTS = ".export-parts-"

#: Files in a chunk. A message holds their paths, and Amazon SQS accepts 256 KiB.
CHUNK_FILES = 50

#: Bytes in a chunk, so that a task takes seconds. A chunk that reaches it is complete.
CHUNK_BYTES = 16 << 20


@dataclass(frozen=True)
class Listing:
    """The files to export, and a row with a note for each that cannot be exported."""

    sizes: dict[str, int]
    left_out: list[Row]


def list_files(folder: Path, *, output: Path) -> Listing:
    """List every regular file of a folder, in a stable order.

    Links, special files, the archive itself, and the folders of `SKIPPED`, `MARKERS`
    and `PARTS` are left out without a note.

    Raises:
        NotADirectoryError: The folder does not exist.
    """
    if not folder.is_dir():
        raise NotADirectoryError(f"{os.fspath(folder)!r} is not a folder")
    errors: list[OSError] = []
    listing = Listing({}, [])
    for root, folders, names in os.walk(folder, onerror=errors.append):
        folders[:] = sorted(name for name in folders if not _is_skipped(root, name))
        for name in sorted(names):
            file = Path(root, name)
            if file != output:
                _add(listing, file, file.relative_to(folder).as_posix())
    for error in errors:
        path = Path(error.filename).relative_to(folder).as_posix()
        listing.left_out.append(left_out(path, error))
    return listing


def left_out(path: str, reason: OSError | str) -> Row:
    """Return the row of a file that is not in the archive."""
    text = reason.strerror if isinstance(reason, OSError) else reason
    return Row(_printable(path), note=f"left out: {text}")


def chunks(sizes: dict[str, int]) -> Iterator[list[str]]:
    """Divide the files into chunks of similar length, at least two if possible."""
    count = max(2, math.ceil(len(sizes) / CHUNK_FILES))
    most = math.ceil(len(sizes) / count)
    chunk: list[str] = []
    total = 0
    for path, size in sizes.items():
        if chunk and (len(chunk) == most or total + size > CHUNK_BYTES):
            yield chunk
            chunk, total = [], 0
        chunk.append(path)
        total += size
    if chunk:
        yield chunk


def open_file(path: Path) -> BinaryIO:
    """Open a regular file for reading.

    Raises:
        OSError: It cannot be read, or is no longer a regular file.
    """
    return open(path, "rb", opener=_open_regular)


def _open_regular(path: str, flags: int) -> int:
    # A file that was listed may be a pipe by now, and opening a pipe would block.
    descriptor = os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(0, "no regular file any more", path)
    return descriptor


def _add(listing: Listing, file: Path, path: str) -> None:
    try:
        status = file.lstat()
    except OSError as error:
        listing.left_out.append(left_out(path, error))
        return
    if not stat.S_ISREG(status.st_mode):
        return
    if _printable(path) != path:
        listing.left_out.append(left_out(path, "its name is not UTF-8"))
        return
    listing.sizes[path] = status.st_size


def _printable(path: str) -> str:
    """Return a path with every byte that is not UTF-8 written as `\\xff`."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def _is_skipped(root: str, name: str) -> bool:
    return (
        name in SKIPPED
        or name.startswith(PARTS)
        or any(os.path.exists(os.path.join(root, name, file)) for file in MARKERS)
    )

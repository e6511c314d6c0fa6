"""Check that an archive holds the folder that it was made from."""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from zipfile import BadZipFile, ZipFile

from export_service.archive import CONTENT, MANIFEST, read_manifest
from export_service.folder import list_files, open_file
from export_service.table import Row, blocks, describe

#: Most names in an error message; a broken archive may have thousands.
_SHOWN = 3


class BrokenArchive(ValueError):
    """The archive does not match its manifest or its folder."""


@dataclass(frozen=True)
class Verification:
    """The contents of a complete archive.

    Attributes:
        files: The rows of the files in it.
        left_out: The rows of files that are not in it, each with the reason.
        changed: The paths of files that have changed in the folder since.
    """

    files: list[Row]
    left_out: list[Row]
    changed: list[str]


def verify(
    archive: Path, folder: Path, *, exported_at: datetime | None = None
) -> Verification:
    """Check that an archive holds every file of a folder once, undamaged.

    The content of each file must match its row in the manifest and the file in the
    folder.

    Args:
        archive: The zip file of an export.
        folder: The folder that was exported.
        exported_at: When the export was requested. Files that changed after it are
            not compared; without it, every file must be the same.

    Raises:
        BrokenArchive: It does not.
        NotADirectoryError: The folder does not exist.
    """
    try:
        with ZipFile(archive) as opened:
            rows = _check_manifest(opened)
            files = [row for row in rows if row.archived]
            for row in files:
                _check_content(opened, row)
    except FileNotFoundError as error:
        raise BrokenArchive(f"{archive} does not exist") from error
    except (BadZipFile, zlib.error) as error:
        raise BrokenArchive(f"{archive} is not a complete zip file: {error}") from error
    different = _differences(files, rows, folder, archive)
    changed = [path for path in different if _changed(folder / path, exported_at)]
    _refuse(set(different) - set(changed), f"different in {folder}")
    return Verification(files, [row for row in rows if not row.archived], changed)


def _check_manifest(archive: ZipFile) -> list[Row]:
    """Return the manifest, after comparing it with the content of the archive."""
    names = archive.namelist()
    _refuse(_repeated(names), "more than once in the zip")
    if MANIFEST not in names:
        raise BrokenArchive(f"{archive.filename} has no {MANIFEST}")
    try:
        rows = read_manifest(archive)
    except ValueError as error:
        raise BrokenArchive(f"{MANIFEST} is damaged: {error}") from error
    _refuse(_repeated(row.path for row in rows), f"more than once in {MANIFEST}")
    listed = {CONTENT + row.path for row in rows if row.archived}
    _refuse(listed.difference(names), f"in {MANIFEST}, but not in the zip")
    _refuse(
        set(names) - listed - {MANIFEST},
        f"in the zip, but not in {MANIFEST}",
    )
    return rows


def _check_content(archive: ZipFile, row: Row) -> None:
    with archive.open(CONTENT + row.path) as file:
        found = describe(row.path, blocks(file))
    if found != replace(row, note=""):
        raise BrokenArchive(f"{row.path!r} does not match {MANIFEST}: {found}")


def _differences(
    files: list[Row], rows: list[Row], folder: Path, archive: Path
) -> list[str]:
    """Return the paths of files that differ between folder and archive."""
    known = {row.path for row in rows}
    listing = list_files(folder, output=archive)
    different = [path for path in listing.sizes if path not in known]
    for row in files:
        try:
            with open_file(folder / row.path) as file:
                same = describe(row.path, blocks(file)) == replace(row, note="")
        except OSError:
            same = False
        if not same:
            different.append(row.path)
    return different


def _changed(file: Path, since: datetime | None) -> bool:
    """Return whether a file was written, replaced or deleted after an instant."""
    if since is None:
        return False
    try:
        # Not the modification time, which a program can set.
        changed_at = datetime.fromtimestamp(file.lstat().st_ctime, UTC)
    except OSError:
        return True
    return changed_at >= since


def _repeated(names: Iterable[str]) -> set[str]:
    return {name for name, count in Counter(names).items() if count > 1}


def _refuse(names: set[str], problem: str) -> None:
    if names:
        shown = ", ".join(repr(name) for name in sorted(names)[:_SHOWN])
        more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
        raise BrokenArchive(f"{shown}{more}: {problem}")

"""The archive, and the packs of one chunk each from which it is made.

files/<path below the exported folder>
manifest.csv
"""

from __future__ import annotations

import io
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import IO
from zipfile import ZIP_DEFLATED, ZipFile, ZipInfo

from export_service.folder import left_out, open_file
from export_service.job import Job
from export_service.table import (
    Row,
    blocks,
    describe,
    load,
    read_rows,
    save,
    write_rows,
)

#: The folder of the exported files in the archive, apart from the manifest.
CONTENT = "files/"

MANIFEST = "manifest.csv"

#: The note of a file whose content changed after it was described.
CHANGED = "changed during the export"

_VANISHED = "it vanished during the export"


def describe_chunk(job: Job, chunk: int, paths: Iterable[str]) -> None:
    """Write the table of some files."""
    rows = [_describe_file(job.folder, path) for path in paths]
    with job.whole(job.table(chunk)) as part:
        save(part, rows)


def pack_chunk(job: Job, chunk: int, paths: Iterable[str]) -> None:
    """Write a zip of some files, without those that cannot be opened.

    It is not compressed, because only `bundle` reads it, which compresses.
    """
    with job.whole(job.pack(chunk)) as part, ZipFile(part, "x") as pack:
        for path in paths:
            source = Path(job.folder, path)
            try:
                info = ZipInfo.from_file(source, path, strict_timestamps=False)
                file = open_file(source)
            except OSError:
                continue
            with file, pack.open(info, "w") as target:
                shutil.copyfileobj(file, target)


def bundle(job: Job, chunks: Iterable[int]) -> list[Row]:
    """Write the archive from its parts, and return its manifest.

    Raises:
        FileNotFoundError: A part is missing.
    """
    rows = load(job.left_out)
    with job.whole(Path(job.output)) as part, ZipFile(part, "x") as archive:
        for chunk in chunks:
            with ZipFile(job.pack(chunk)) as pack:
                rows += _add_pack(archive, pack, load(job.table(chunk)))
        text = io.StringIO()
        write_rows(text, rows)
        archive.writestr(MANIFEST, text.getvalue(), ZIP_DEFLATED)
        archive.comment = job.id.encode()
    return rows


def read_manifest(archive: ZipFile) -> list[Row]:
    """Return the rows of an archive's manifest.

    Raises:
        KeyError: The archive has no manifest.
        ValueError: The manifest is not a table of files.
    """
    with archive.open(MANIFEST) as file:
        return read_rows(io.TextIOWrapper(file, "utf-8", newline=""))


def _describe_file(folder: str, path: str) -> Row:
    try:
        with open_file(Path(folder, path)) as file:
            return describe(path, blocks(file))
    except OSError as error:
        return left_out(path, error)


def _add_pack(archive: ZipFile, pack: ZipFile, table: list[Row]) -> Iterator[Row]:
    packed = set(pack.namelist())
    for row in table:
        if row.path in packed:
            yield _add_file(archive, pack, row)
        elif row.archived:
            yield left_out(row.path, _VANISHED)
        else:
            yield row


def _add_file(archive: ZipFile, pack: ZipFile, row: Row) -> Row:
    """Copy a file, and return the row of the copied content."""
    source = pack.getinfo(row.path)
    target = ZipInfo(CONTENT + row.path, source.date_time)
    target.external_attr = source.external_attr
    target.file_size = source.file_size
    target.compress_type = ZIP_DEFLATED
    with pack.open(source) as reader, archive.open(target, "w") as writer:
        copied = describe(row.path, _copied(reader, writer))
    return row if copied == row else replace(copied, note=CHANGED)


def _copied(source: IO[bytes], target: IO[bytes]) -> Iterator[bytes]:
    for block in blocks(source):
        target.write(block)
        yield block

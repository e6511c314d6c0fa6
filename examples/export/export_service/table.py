"""The table of files, as CSV with a row for each file."""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import IO

#: Bytes read at once: enough for the disk, little memory.
BLOCK = 1 << 20

#: A file with a NUL in this many first bytes is binary, as in Git
#: (`buffer_is_binary`).
PROBE = 8000


@dataclass(frozen=True)
class Row:
    """What is known about one file.

    Attributes:
        path: The path below the exported folder, with slashes.
        size: Size in bytes; None if the file is not in the archive.
        lines: Number of lines; None if the file is binary or not in the archive.
        sha256: The digest in hexadecimal; empty if the file is not in the archive.
        kind: `text` or `binary`.
        note: A remark for readers of the manifest; usually empty.
    """

    path: str
    size: int | None = None
    lines: int | None = None
    sha256: str = ""
    kind: str = ""
    note: str = ""

    @property
    def archived(self) -> bool:
        """Whether the file is in the archive."""
        return self.size is not None


COLUMNS = [field.name for field in fields(Row)]


def describe(path: str, blocks: Iterable[bytes]) -> Row:
    """Return the row of a file with some content."""
    digest = hashlib.sha256()
    size = lines = 0
    head = last = b""
    for block in blocks:
        digest.update(block)
        size += len(block)
        lines += block.count(b"\n")
        head += block[: PROBE - len(head)]
        last = block[-1:] or last
    binary = b"\0" in head
    return Row(
        path=path,
        size=size,
        lines=None if binary else lines + (last not in (b"", b"\n")),
        sha256=digest.hexdigest(),
        kind="binary" if binary else "text",
    )


def blocks(file: IO[bytes]) -> Iterator[bytes]:
    """Yield the rest of a file in blocks."""
    while block := file.read(BLOCK):
        yield block


def write_rows(file: IO[str], rows: Iterable[Row]) -> None:
    """Write a table; open `file` with `newline=""`."""
    writer = csv.DictWriter(file, COLUMNS)
    writer.writeheader()
    writer.writerows(asdict(row) for row in rows)


def read_rows(file: IO[str]) -> list[Row]:
    """Read a table; open `file` with `newline=""`.

    Raises:
        ValueError: It is not such a table.
    """
    reader = csv.DictReader(file, restkey="", restval=None, strict=True)
    try:
        if reader.fieldnames != COLUMNS:
            raise ValueError(f"columns {reader.fieldnames} instead of {COLUMNS}")
        return [_row(values) for values in reader]
    except csv.Error as error:
        raise ValueError(f"line {reader.line_num}: {error}") from error


def save(path: Path, rows: Iterable[Row]) -> None:
    """Write a table to a new file."""
    with path.open("x", encoding="utf-8", newline="") as file:
        write_rows(file, rows)


def load(path: Path) -> list[Row]:
    """Read a table from a file."""
    with path.open(encoding="utf-8", newline="") as file:
        return read_rows(file)


def _row(values: dict[str, str]) -> Row:
    if None in values.values() or "" in values:
        raise ValueError(f"{values} does not have the columns {COLUMNS}")
    return Row(
        path=values["path"],
        size=_number(values["size"]),
        lines=_number(values["lines"]),
        sha256=values["sha256"],
        kind=values["kind"],
        note=values["note"],
    )


def _number(text: str) -> int | None:
    return int(text) if text else None

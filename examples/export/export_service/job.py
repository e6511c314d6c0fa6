"""A running export, and the folder of its parts."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4
from zipfile import BadZipFile, ZipFile

from export_service.folder import PARTS


@dataclass(frozen=True)
class Job:
    """What every task of an export knows. Its fields are sent as JSON.

    Attributes:
        id: The id of this attempt. Each attempt at an export has its own parts, so
            that two attempts do not mix.
        folder: The absolute path of the folder to export.
        output: The absolute path of the archive.
    """

    id: str
    folder: str
    output: str

    @property
    def parts(self) -> Path:
        """The folder of the parts, on the same disk as the archive."""
        return Path(self.output).with_name(PARTS + self.id)

    @property
    def left_out(self) -> Path:
        """The table of files that could not be listed."""
        return self.parts / "left-out.csv"

    def table(self, chunk: int) -> Path:
        """Return the path of a chunk's table."""
        return self.parts / f"{chunk}.csv"

    def pack(self, chunk: int) -> Path:
        """Return the path of a chunk's pack."""
        return self.parts / f"{chunk}.zip"

    @contextmanager
    def whole(self, path: Path) -> Iterator[Path]:
        """Yield a temporary path, and rename the file when it is complete."""
        part = self.parts / f"{uuid4()}.part"
        yield part
        os.replace(part, path)

    @contextmanager
    def unless_finished(self) -> Iterator[None]:
        """Ignore missing parts if the archive exists already.

        A broker may redeliver a message long after its task has run.
        """
        try:
            yield
        except FileNotFoundError:
            if not self.is_finished():
                raise

    def is_finished(self) -> bool:
        """Return whether this job has written the archive."""
        try:
            with ZipFile(self.output) as archive:
                return archive.comment == self.id.encode()
        except (BadZipFile, FileNotFoundError):
            return False

    def clean_up(self) -> None:
        """Delete the parts."""
        shutil.rmtree(self.parts, ignore_errors=True)

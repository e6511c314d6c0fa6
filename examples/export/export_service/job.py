"""One export under way, and the folder in which its parts wait to be bundled."""

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
    """What every task of an export has to know; its fields travel as JSON.

    Attributes:
        id: Of this attempt. A second attempt at the same export has parts of its
            own, so that the two cannot mix.
        folder: The folder to export, absolute.
        output: The archive to write, absolute.
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
        """The table of what could not even be listed."""
        return self.parts / "left-out.csv"

    def table(self, chunk: int) -> Path:
        """Return where the table of a chunk is."""
        return self.parts / f"{chunk}.csv"

    def pack(self, chunk: int) -> Path:
        """Return where the packed files of a chunk are."""
        return self.parts / f"{chunk}.zip"

    @contextmanager
    def whole(self, path: Path) -> Iterator[Path]:
        """Yield a name to write to; the file gets its own when it is complete."""
        part = self.parts / f"{uuid4()}.part"
        yield part
        os.replace(part, path)

    @contextmanager
    def unless_finished(self) -> Iterator[None]:
        """Pass over missing parts if the archive is there already.

        A broker may deliver a message again when its work has long been done.
        """
        try:
            yield
        except FileNotFoundError:
            if not self.is_finished():
                raise

    def is_finished(self) -> bool:
        """Tell whether the archive was written by this very job."""
        try:
            with ZipFile(self.output) as archive:
                return archive.comment == self.id.encode()
        except (BadZipFile, FileNotFoundError):
            return False

    def clean_up(self) -> None:
        """Delete the parts."""
        shutil.rmtree(self.parts, ignore_errors=True)

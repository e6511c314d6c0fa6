"""Write files without overwriting any."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path


def find_existing(folder: Path, paths: Mapping[str, str]) -> list[str]:
    """Return those of the paths in the folder where there is a file already."""
    return [path for path in paths if os.path.lexists(folder / path)]


def write_new(folder: Path, files: Mapping[str, str]) -> None:
    """Write files that do not exist, and the folders that they need.

    Args:
        folder: The folder that the paths start from.
        files: The text of each file by its path.

    Raises:
        OSError: A file exists, or cannot be written.
    """
    for path, text in files.items():
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        # Mode "x" fails if somebody else has written the file meanwhile.
        with open(target, "x", encoding="utf-8", newline="\n") as file:
            file.write(text)

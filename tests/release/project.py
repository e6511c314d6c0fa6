"""A package of the repository, as its files and the Git history describe it."""

from __future__ import annotations

import re
import subprocess
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from packaging.version import InvalidVersion, Version


@dataclass(frozen=True)
class Project:
    """A package, by its folder in the repository.

    Attributes:
        root: The folder of the repository.
        name: The name of the distribution, such as `workertoolbox-conf`.
    """

    root: Path
    name: str

    @property
    def folder(self) -> Path:
        """The folder of the package."""
        return self.root / "packages" / self.name

    @property
    def metadata(self) -> dict[str, Any]:
        """The project table of its `pyproject.toml`."""
        text = (self.folder / "pyproject.toml").read_text("utf-8")
        table: dict[str, Any] = tomllib.loads(text)["project"]
        return table

    @property
    def version(self) -> str:
        """The static version; empty if there is none."""
        return str(self.metadata.get("version", ""))

    @property
    def tag(self) -> str:
        """The tag of the release."""
        return f"{self.name}-v{self.version}"

    def released(self) -> list[str]:
        """Return the versions that have a tag, the oldest first."""
        prefix = f"{self.name}-v"
        tags = git(self.root, "tag", "--list", f"{prefix}*").split()
        versions = [tag.removeprefix(prefix) for tag in tags]
        return sorted(filter(is_version, versions), key=Version)


def git(root: Path, *words: str) -> str:
    """Return what a Git command prints.

    Raises:
        subprocess.CalledProcessError: The command failed.
    """
    done = subprocess.run(
        ["git", "-C", str(root), *words], capture_output=True, text=True, check=True
    )
    return done.stdout


def is_version(text: str) -> bool:
    """Return whether a text is a version by PEP 440."""
    try:
        Version(text)
    except InvalidVersion:
        return False
    return True


def changes(project: Project) -> dict[str, str]:
    """Return the text of each section of the changelog by its heading, in order."""
    text = (project.folder / "CHANGELOG.md").read_text("utf-8")
    parts = re.split(r"^## \[?([^\s\]]+).*\n", text, flags=re.MULTILINE)[1:]
    return {
        name: body.strip() for name, body in zip(parts[::2], parts[1::2], strict=True)
    }

"""Wheel and sdist: built twice, and compared."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from hashlib import sha256
from pathlib import Path

from release.project import Project, git

#: The `uv` of this environment.
UV = [sys.executable, "-m", "uv"]


def build(source: Path, target: Path, *, epoch: str, kinds: tuple[str, ...]) -> None:
    """Build a package.

    Args:
        source: The folder of the package.
        target: The folder for what is built.
        epoch: The time for all files in the archives, in seconds since 1970.
        kinds: `wheel` and `sdist`, or one of them.

    Raises:
        subprocess.CalledProcessError: The build failed.
    """
    subprocess.run(
        [*UV, "build", "--quiet", *(f"--{kind}" for kind in kinds)]
        + ["--out-dir", str(target), str(source)],
        env={**os.environ, "SOURCE_DATE_EPOCH": epoch},
        check=True,
    )
    (target / ".gitignore").unlink(missing_ok=True)  # uv writes one.


def export(root: Path, revision: str, folder: Path) -> Path:
    """Write the files of a revision to a new folder, and return it."""
    folder.mkdir(parents=True)
    archive = subprocess.run(
        ["git", "-C", str(root), "archive", revision], capture_output=True, check=True
    )
    subprocess.run(["tar", "-x", "-C", folder], input=archive.stdout, check=True)
    return folder


def build_twice(project: Project, target: Path, work: Path) -> list[str]:
    """Build wheel and sdist in the tree and in a copy, and return what differs.

    Args:
        target: The folder for what is built; emptied first.
        work: A temporary folder.
    """
    epoch = git(project.root, "log", "-1", "--format=%ct", "HEAD").strip()
    copy = export(project.root, "HEAD", work / "copy")
    shutil.rmtree(target, ignore_errors=True)
    again = work / "again"
    kinds = ("wheel", "sdist")
    build(project.folder, target, epoch=epoch, kinds=kinds)
    build(copy / "packages" / project.name, again, epoch=epoch, kinds=kinds)
    first, second = digests(target), digests(again)
    return sorted(
        name for name in {**first, **second} if first.get(name) != second.get(name)
    )


def digests(folder: Path) -> dict[str, str]:
    """Return the SHA-256 digest of each file in a folder."""
    return {
        path.name: sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()
    }


def build_sibling(sibling: Project, target: Path, work: Path) -> str:
    """Build the last release of another package; return the version.

    A package that has not been released is built as it is now.
    """
    released = sibling.released()
    source = sibling.folder
    if released:
        tag = f"{sibling.name}-v{released[-1]}"
        copy = export(sibling.root, tag, work / sibling.name)
        source = copy / "packages" / sibling.name
    build(source, target, epoch="0", kinds=("wheel",))
    return released[-1] if released else f"{sibling.version}, not released"

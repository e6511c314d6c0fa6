"""The code of the last release, from the history of the repository."""

from __future__ import annotations

import subprocess
import sys
import tarfile
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

from servers.availability import skip_or_fail

ROOT = Path(__file__).parents[2]

#: The newest revision of the schema in the last release.
REVISION = "0007"

#: The first migration after that release. The commit before it has the release's code.
NEXT_MIGRATION = (
    "packages/workertoolbox-results/src/cadasta/workertoolbox/results/migrations/"
    "versions/0008_result_ids.py"
)

PACKAGES = ("routing", "results", "conf")


@dataclass(frozen=True)
class Release:
    """A release with its code in a folder.

    Attributes:
        environment: Variables with which Python imports this release instead of the
            installed one. Celery finds the entry points of the installed packages,
            which are the same.
    """

    folder: Path

    @property
    def environment(self) -> dict[str, str]:
        """Variables with which Python prefers this release to the installed one."""
        sources = (
            self.folder / f"packages/workertoolbox-{each}/src" for each in PACKAGES
        )
        return {"PYTHONPATH": ":".join(map(str, sources))}

    def run(self, program: str, *arguments: str) -> None:
        """Run the text of a program, and wait for its end."""
        subprocess.run(
            [sys.executable, "-c", program, *arguments],
            env={"PATH": "", **self.environment},
            cwd=self.folder,
            check=True,
        )


def check_out_last_release(folder: Path) -> Release:
    """Write the code of the last release to a folder; needs the whole repository."""
    added = _git("log", "--diff-filter=A", "--format=%H", "--", NEXT_MIGRATION).decode()
    if not added.split():
        skip_or_fail(
            "the last release",
            "the repository has no history here; clone it whole, not --depth=1",
        )
    archive = _git("archive", f"{added.split()[-1]}^", "packages")
    with tarfile.open(fileobj=BytesIO(archive)) as tar:
        tar.extractall(folder, filter="data")
    return Release(folder)


def _git(*arguments: str) -> bytes:
    try:
        return subprocess.run(
            ["git", "-C", str(ROOT), *arguments], capture_output=True, check=True
        ).stdout
    except (OSError, subprocess.CalledProcessError):
        return b""

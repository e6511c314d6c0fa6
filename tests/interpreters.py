"""The Python versions of the test matrix."""

from __future__ import annotations

import os
import re
import shutil
import subprocess

#: Minor versions of Python that the packages support.
VERSIONS = ("3.11", "3.12", "3.13")

#: The next version, which is tested where it is installed.
NEXT_VERSION = "3.14"

_ALL = (*VERSIONS, NEXT_VERSION)


def find_interpreters() -> list[str]:
    """Return the versions that run as `pythonX.Y`, the lowest first."""
    return [version for version in _ALL if _runs(f"python{version}")]


def select_pyenv_versions() -> None:
    """Make pyenv, if it is installed, provide each version that it has.

    By default it provides one version, and Hatch would try to download the others.
    """
    pyenv = shutil.which("pyenv")
    if pyenv is None:
        return
    listed = subprocess.run(
        [pyenv, "versions", "--bare"], capture_output=True, text=True, check=False
    )
    supported = "|".join(re.escape(version) for version in _ALL)
    names = re.findall(rf"^(?:{supported})\.\d+$", listed.stdout, re.MULTILINE)
    if names:
        os.environ["PYENV_VERSION"] = ":".join(names)


def _runs(name: str) -> bool:
    path = shutil.which(name)
    # pyenv has a script for each version, which fails if the version is not selected.
    return path is not None and (
        subprocess.run([path, "-c", ""], capture_output=True).returncode == 0
    )

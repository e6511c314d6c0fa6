"""Wheel and sdist, each installed in an environment of its own."""

from __future__ import annotations

import subprocess
from pathlib import Path
from zipfile import ZipFile

from release.builds import UV
from release.project import Project

#: Folders whose modules cannot be imported alone: Alembic runs the migrations, and what
#: is for Django needs the settings of a project.
NOT_IMPORTED = {"django", "migrations"}


def public_modules(wheel: Path) -> list[str]:
    """Return the modules in a wheel that users may import, sorted."""
    with ZipFile(wheel) as archive:
        paths = [Path(name) for name in archive.namelist() if name.endswith(".py")]
    modules = []
    for path in paths:
        parts = path.with_suffix("").parts
        name = parts[:-1] if parts[-1] == "__init__" else parts
        is_private = any(part.startswith("_") for part in name)
        if not is_private and NOT_IMPORTED.isdisjoint(name):
            modules.append(".".join(name))
    return sorted(modules)


def install(
    archive: Path, environment: Path, *, siblings: Path, extras: list[str]
) -> Path:
    """Install a wheel or an sdist in a new environment, and return its interpreter.

    Args:
        environment: The folder of the environment.
        siblings: A folder with wheels of the other packages.
        extras: The extras to install with it.

    Raises:
        subprocess.CalledProcessError: It cannot be installed.
    """
    subprocess.run([*UV, "venv", "--quiet", str(environment)], check=True)
    python = environment / "bin" / "python"
    wanted = f"{archive}[{','.join(extras)}]" if extras else str(archive)
    subprocess.run(
        [*UV, "pip", "install", "--quiet", "--python", str(python)]
        + ["--find-links", str(siblings), wanted],
        check=True,
    )
    return python


def import_modules(python: Path, modules: list[str]) -> list[str]:
    """Import modules in a new process, and return the errors."""
    program = (
        "import importlib, sys\n"
        "for name in sys.argv[1:]:\n"
        "    try:\n"
        "        importlib.import_module(name)\n"
        "    except Exception as error:\n"
        "        print(f'{name} cannot be imported: {error!r}')\n"
    )
    done = subprocess.run(
        [str(python), "-I", "-W", "ignore", "-c", program, *modules],
        capture_output=True,
        text=True,
    )
    ended = [] if done.returncode == 0 else [f"the imports end with {done.stderr}"]
    return [*done.stdout.splitlines(), *ended]


def extras_of(project: Project) -> list[str]:
    """Return the names of the extras of a package."""
    return sorted(project.metadata.get("optional-dependencies", {}))

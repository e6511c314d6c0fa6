"""Check a package before its release: `hatch run release PACKAGE`.

It builds what would be uploaded and prints what to do next. It publishes nothing.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from release.builds import build_sibling, build_twice
from release.checks import find_problems
from release.installs import extras_of, import_modules, install, public_modules
from release.project import Project

ROOT = Path(__file__).parents[1]
PACKAGES = sorted(path.name for path in (ROOT / "packages").iterdir() if path.is_dir())


def main(arguments: list[str]) -> int:
    """Run the checks until one fails, and return the exit code."""
    if len(arguments) != 1 or arguments[0] not in PACKAGES:
        print(f"usage: hatch run release {'|'.join(PACKAGES)}", file=sys.stderr)
        return 2
    project = Project(ROOT, arguments[0])
    target = ROOT / "dist" / "release" / f"{project.name}-{project.version}"
    with tempfile.TemporaryDirectory() as folder:
        release = Release(project, target, Path(folder))
        for title, check in release.steps():
            print(f"==== {title}", flush=True)
            for problem in (problems := check()):
                print(f"failed: {problem}")
            if problems:
                return 1
    print(_next_steps(project, target))
    return 0


class Release:
    """The steps for one package.

    Args:
        project: The package.
        target: The folder for what would be uploaded.
        work: A temporary folder.
    """

    def __init__(self, project: Project, target: Path, work: Path) -> None:
        self.project = project
        self.target = target
        self.work = work

    def steps(self) -> list[tuple[str, Callable[[], list[str]]]]:
        """Return each step with its title. A step returns its problems."""
        return [
            (f"Version, changelog, tag and tree of {self.project.tag}", self._files),
            ("Wheel and sdist, twice", self._builds),
            ("Metadata and contents", self._contents),
            ("Wheel alone, and sdist with every extra", self._installs),
            ("Bill of materials", self._sbom),
        ]

    def _files(self) -> list[str]:
        return find_problems(self.project)

    def _builds(self) -> list[str]:
        return [
            f"{name} differs between two builds"
            for name in build_twice(self.project, self.target, self.work)
        ]

    def _contents(self) -> list[str]:
        archives = [str(path) for path in sorted(self.target.iterdir())]
        twine = [sys.executable, "-m", "twine", "check", "--strict", *archives]
        # W002: equal files, such as the licences of two libraries. W004: modules with
        # names that no import can have. Alembic loads the migrations by path.
        contents = ["check-wheel-contents", "--ignore", "W002,W004"]
        contents.append(str(self._archive("*.whl")))
        return [
            f"`{' '.join(words)}` ended with an error"
            for words in (twine, contents)
            if subprocess.run(words).returncode != 0
        ]

    def _installs(self) -> list[str]:
        siblings = self.work / "siblings"
        siblings.mkdir()
        for name in PACKAGES:
            if name != self.project.name:
                sibling = Project(ROOT, name)
                version = build_sibling(sibling, siblings, self.work / "siblings-of")
                print(f"beside {name} {version}")
        wheel = self._archive("*.whl")
        modules = public_modules(wheel)
        alone = install(wheel, self.work / "alone", siblings=siblings, extras=[])
        problems = import_modules(alone, modules[:1])
        whole = install(
            self._archive("*.tar.gz"),
            self.work / "whole",
            siblings=siblings,
            extras=extras_of(self.project),
        )
        return problems + import_modules(whole, modules)

    def _sbom(self) -> list[str]:
        file = self.target / f"{self.project.name}-{self.project.version}.cdx.json"
        words = ["cyclonedx-py", "environment", "--output-reproducible"]
        words += ["--pyproject", str(self.project.folder / "pyproject.toml")]
        words += ["--output-file", str(file), str(self.work / "whole" / "bin/python")]
        done = subprocess.run(words)
        return [] if done.returncode == 0 else ["the bill of materials failed"]

    def _archive(self, pattern: str) -> Path:
        [path] = self.target.glob(pattern)
        return path


def _next_steps(project: Project, target: Path) -> str:
    folder = target.relative_to(ROOT)
    return f"""
{project.tag} can be released. Nothing is published yet. Next:

    git tag -a {project.tag} -m "{project.name} {project.version}"
    git push origin {project.tag}
    twine upload {folder}/*.whl {folder}/*.tar.gz

Attach {folder}/*.cdx.json to the release, and change
tests/upgrades/last_release.py.
"""


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

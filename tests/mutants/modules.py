"""Modules that are mutated, the tests that judge them, and their equivalent mutants."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Change:
    """What a mutant changes.

    Attributes:
        function: The function, after its class if it has one.
        before: The lines of the function that differ, without indentation.
        after: The same lines in the mutant.
    """

    function: str
    before: str
    after: str

    def __str__(self) -> str:
        return f"{self.function}\n    - {self.before}\n    + {self.after}"


@dataclass(frozen=True)
class Module:
    """A module that decides.

    Attributes:
        package: `routing` or `results`.
        path: The path of the module in the package.
        tests: The test files of its package that judge it. A test after an exclamation
            mark does not: it is slow.
        equivalent: Mutants that behave as the module does.
    """

    package: str
    path: str
    tests: tuple[str, ...]
    equivalent: frozenset[Change]

    @property
    def name(self) -> str:
        return f"{self.package}/{self.path}"

    @property
    def folder(self) -> Path:
        """The folder of its package."""
        return ROOT / "packages" / f"workertoolbox-{self.package}"

    @property
    def source(self) -> str:
        """Its path in the folder of its package."""
        return f"src/cadasta/workertoolbox/{self.name}"


def modules() -> list[Module]:
    """Return the modules of `modules.toml`, with the mutants of `equivalent.toml`."""
    tables: dict[str, dict[str, list[str]]] = _read("modules.toml")
    equivalent: dict[str, list[dict[str, Any]]] = _read("equivalent.toml")
    found = [
        Module(
            *(package, path, tuple(tests)),
            equivalent=frozenset(
                Change(entry["function"], before, after)
                for entry in equivalent.pop(f"{package}/{path}", ())
                for before, after in entry["mutants"]
            ),
        )
        for package, paths in tables.items()
        for path, tests in paths.items()
    ]
    if equivalent:
        raise ValueError(f"equivalent.toml: unknown modules {sorted(equivalent)}")
    return found


def _read(name: str) -> dict[str, Any]:
    return tomllib.loads((ROOT / "tests" / "mutants" / name).read_text("utf-8"))

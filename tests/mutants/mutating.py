"""Run mutmut on one module, in a copy of its package."""

from __future__ import annotations

import ast
import difflib
import json
import os
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from operator import attrgetter
from pathlib import Path

from mutants.modules import ROOT, Change, Module

#: Exit codes that mutmut notes for a failed test, and for a time limit.
KILLED = frozenset({1, 3, 24, 36, 152, 255, -9, -24})

#: Decorators that are removed. With them, only the first test that calls a function
#: would call it.
CACHES = frozenset({"cache", "lru_cache"})

#: Decorators that are applied by a statement instead: mutmut does not mutate functions
#: that have them.
APPLIED = frozenset({"cached_property", "contextmanager", "property"})

#: How much longer than the tests, and one second, a mutant may take.
PATIENCE = 10


@dataclass(frozen=True)
class Verdicts:
    """What the tests noticed.

    Attributes:
        killed: Number of mutants with which a test failed.
        survivors: The other mutants.
    """

    killed: int
    survivors: tuple[Change, ...]


def judge(module: Module, *, again: bool = False) -> Verdicts:
    """Run the tests of a module with each mutant.

    Args:
        again: Whether only the survivors of the last run are judged, by changed tests.

    Raises:
        RuntimeError: mutmut did not finish, for example because a test fails without a
            mutant.
    """
    copy = ROOT / "dist" / "mutants" / module.name.removesuffix(".py").replace("/", "-")
    chosen = []
    if again:
        chosen = _survivors(_read_exits(copy, module))
        _copy_tests(module, copy)
    else:
        _copy(module, copy)
    if chosen or not again:
        _run(copy, chosen)
    exits = _read_exits(copy, module)
    changes = dict(_changes((copy / "mutants" / module.source).read_text("utf-8")))
    survivors = _survivors(exits)
    return Verdicts(
        killed=len(exits) - len(survivors),
        survivors=tuple(changes[key.rpartition(".")[2]] for key in survivors),
    )


def _run(copy: Path, chosen: list[str]) -> None:
    log = copy / "mutmut.log"
    variables = {"WORKERTOOLBOX_TEST_TEMPLATE": str(copy / "template.sqlite3")}
    mutmut = Path(sys.executable).parent / "mutmut"
    with log.open("w") as output:
        code = subprocess.call(
            [mutmut, "run", "--max-children", "1", *chosen],
            cwd=copy,
            env={**os.environ, **variables},
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    if code:
        raise RuntimeError(f"mutmut did not finish; its output is in {log}")


def _read_exits(copy: Path, module: Module) -> dict[str, int]:
    """Return the exit code of the tests with each mutant."""
    meta = copy / "mutants" / f"{module.source}.meta"
    exits: dict[str, int] = json.loads(meta.read_text("utf-8"))["exit_code_by_key"]
    if not exits or None in exits.values():
        raise RuntimeError(f"mutmut has not judged all mutants of {module.name}")
    return exits


def _survivors(exits: dict[str, int]) -> list[str]:
    return [name for name, exit_code in exits.items() if exit_code not in KILLED]


def _copy(module: Module, copy: Path) -> None:
    """Copy the package, with a configuration for mutmut and pytest."""
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(module.folder / "src", copy / "src")
    _copy_tests(module, copy)
    shutil.copy(Path(__file__).with_name("frozen_heap.py"), copy)
    source = copy / module.source
    source.write_text(undecorated(source.read_text("utf-8")), "utf-8")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    pytest = project["tool"]["pytest"]["ini_options"] | {"pythonpath": ["tests"]}
    chosen = [f"tests/{name}" for name in module.tests if name[0] != "!"]
    slow = [f"--deselect=tests/{name[1:]}" for name in module.tests if name[0] == "!"]
    mutmut = {
        "source_paths": ["src"],
        "only_mutate": [module.source],
        "also_copy": ["frozen_heap.py"],
        "pytest_add_cli_args": ["-p", "no:cacheprovider", "-p", "frozen_heap", *slow],
        "pytest_add_cli_args_test_selection": chosen,
        "timeout_multiplier": PATIENCE,
        # Its workers fork before a test has run, so that no cache has a result of the
        # original functions.
        "process_isolation": "forkserver",
        "use_git_change_detection": False,
    }
    text = _table("tool.pytest.ini_options", pytest) + _table("tool.mutmut", mutmut)
    (copy / "pyproject.toml").write_text(text, "utf-8")


def _copy_tests(module: Module, copy: Path) -> None:
    shutil.rmtree(copy / "tests", ignore_errors=True)
    shutil.copytree(module.folder / "tests", copy / "tests")


def undecorated(source: str) -> str:
    """Return the source without decorators that keep mutmut from a function."""
    lines = source.splitlines()
    functions = [
        node
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.FunctionDef) and node.decorator_list
    ]
    for function in sorted(functions, key=attrgetter("lineno"), reverse=True):
        names = [ast.unparse(each).split("(")[0] for each in function.decorator_list]
        if not CACHES.union(APPLIED).issuperset(names):
            continue
        indentation = " " * function.col_offset
        lines[function.end_lineno : function.end_lineno] = [
            f"{indentation}{function.name} = {name}({function.name})"
            for name in names
            if name in APPLIED
        ]
        del lines[function.decorator_list[0].lineno - 1 : function.lineno - 1]
    return "\n".join(lines) + "\n"


def _table(name: str, values: dict[str, object]) -> str:
    # Strings, numbers, booleans and lists of strings are the same in JSON and TOML.
    lines = [f"{key} = {json.dumps(value)}\n" for key, value in values.items()]
    return f"[{name}]\n{''.join(lines)}"


def _changes(mutated: str) -> Iterator[tuple[str, Change]]:
    """Yield the name of each mutated function in a file of mutmut, with its change."""
    lines = mutated.splitlines()
    functions = {
        node.name: lines[node.lineno - 1 : node.end_lineno]
        for node in ast.walk(ast.parse(mutated))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and "__mutmut_" in node.name
    }
    for name, after in functions.items():
        original = f"{name.rpartition('_')[0]}_orig"
        before = functions[original]
        after = [line.replace(name, original, 1) for line in after]
        yield name, _change(original, before, after)


def _change(original: str, before: list[str], after: list[str]) -> Change:
    # `x_function__mutmut_orig`, or `xǁClassǁmethod__mutmut_orig`.
    mangled = original.removesuffix("__mutmut_orig")
    function = mangled.removeprefix("x_").removeprefix("xǁ").replace("ǁ", ".")
    differing = [*difflib.ndiff(before, after)]
    removed, added = (
        " ".join(line[2:].strip() for line in differing if line[0] == sign).replace(
            original, function
        )
        for sign in "-+"
    )
    return Change(function, removed, added)

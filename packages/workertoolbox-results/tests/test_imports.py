"""Processes do not import modules that they do not use."""

from __future__ import annotations

import ast
import inspect
import subprocess
import sys

import pytest

import cadasta.workertoolbox.results as results

PACKAGE = "cadasta.workertoolbox.results"


def modules_after(statement: str) -> set[str]:
    """Return the names of the modules that a new process has loaded."""
    program = f"import sys\n{statement}\nprint(*sys.modules)"
    output = subprocess.check_output([sys.executable, "-c", program], text=True)
    return set(output.split())


def test_a_worker_does_not_import_the_monitor_commands_or_migrations() -> None:
    loaded = modules_after(f"import {PACKAGE}.backend")

    assert f"{PACKAGE}._backend.reading" in loaded
    assert not loaded & {"alembic", "mako", "rich"}
    assert not [
        name
        for name in loaded
        for room in ("_monitor", "_store", "_commands", "commands", "migrations")
        if name.startswith(f"{PACKAGE}.{room}")
    ]


def test_celerys_command_line_does_not_import_commands_before_they_are_called() -> None:
    loaded = modules_after("import celery.bin.celery")

    assert f"{PACKAGE}.commands" in loaded
    assert not loaded & {"alembic", "mako", "rich", "sqlalchemy"}
    assert not [name for name in loaded if name.startswith(f"{PACKAGE}._commands")]


@pytest.mark.parametrize("name", results._LAZY)
def test_a_name_that_is_imported_late_is_public(name: str) -> None:
    assert name in results.__all__


def test_names_that_are_imported_late_are_those_that_type_checkers_see() -> None:
    tree = ast.parse(inspect.getsource(results))
    [block] = [
        node
        for node in tree.body
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
    ]
    seen = {
        alias.asname or alias.name: str(node.module).removeprefix(f"{PACKAGE}.")
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }

    assert seen == results._LAZY


@pytest.mark.parametrize("name", results.__all__)
def test_a_public_name_exists(name: str) -> None:
    assert hasattr(results, name)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'TaskStores'"):
        results.TaskStores  # noqa: B018

"""What `hatch run mutants` mutates. It takes long, and is not part of the tests."""

from __future__ import annotations

import pytest

from mutants.modules import Module, modules
from mutants.mutating import undecorated

SOURCE = """\
class Store:
    @property
    def size(self) -> int:
        return 1

    @staticmethod
    def named() -> str:
        return "a"


@cache
def query() -> str:
    return "b"


@cli.command()
def upgrade() -> None:
    query()
"""

UNDECORATED = """\
class Store:
    def size(self) -> int:
        return 1
    size = property(size)

    @staticmethod
    def named() -> str:
        return "a"


def query() -> str:
    return "b"


@cli.command()
def upgrade() -> None:
    query()
"""


@pytest.mark.parametrize("module", modules(), ids=lambda module: module.name)
def test_the_modules_and_the_tests_that_judge_them_exist(module: Module) -> None:
    files = [f"tests/{name.lstrip('!').partition('::')[0]}" for name in module.tests]

    assert files
    for name in (module.source, *files):
        assert (module.folder / name).is_file()


def test_a_mutated_copy_has_no_caches_and_properties_as_statements() -> None:
    assert undecorated(SOURCE) == UNDECORATED

"""The tables and the view of the database, with the comments of their definitions."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from importlib import import_module
from pkgutil import iter_modules

from sqlalchemy import Table
from sqlalchemy.dialects import postgresql

from cadasta.workertoolbox.results import Task
from cadasta.workertoolbox.results._database import tables
from cadasta.workertoolbox.results._database.view import tasks
from cadasta.workertoolbox.results.web.api.docstrings import entries_of

_DEFINITION = re.compile(r"^\w+ = Table\($")
_COMMENT = re.compile(r"\s*#:? (.*)")
_NAME = re.compile(r'\s+(?:Column\()?"(\w+)",')


def text() -> str:
    """Return a section for each table, and one for the view, as Markdown."""
    comments = dict(_comments())
    parts = [_section(table, comments) for table in tables.metadata.sorted_tables]
    # The view has the attributes of `Task`.
    of_task = entries_of(Task, "Attributes")
    comments |= {f"{tasks.name}.{name}": text for name, text in of_task.items()}
    comments[tasks.name] = "The view: live tasks, the history, and planned steps."
    return "\n".join([_section(tasks, comments), *sorted(parts)])


def _section(table: Table, comments: dict[str, str]) -> str:
    about = comments.get(table.name, "")
    rows = (
        f"| `{each.name}` | {each.type.compile(postgresql.dialect()).lower()} "
        f"| {comments.get(f'{table.name}.{each.name}', '')} |\n"
        for each in table.columns
    )
    head = "| column | type on PostgreSQL | meaning |\n|---|---|---|\n"
    return f"## `{table.name}`\n\n{about}\n\n{head}{''.join(rows)}"


def _comments() -> Iterator[tuple[str, str]]:
    """Yield the comments before tables and columns, by their names."""
    for module in iter_modules(tables.__path__, f"{tables.__name__}."):
        source = inspect.getsource(import_module(module.name))
        yield from _comments_of(source.splitlines())


def _comments_of(lines: list[str]) -> Iterator[tuple[str, str]]:
    table, before, is_new = "", list[str](), False
    for line in lines:
        if found := _COMMENT.fullmatch(line):
            before.append(found[1])
            continue
        if _DEFINITION.match(line):
            is_new = True
            continue
        if found := _NAME.match(line):
            if is_new:
                table, is_new = found[1], False
                yield table, _sentence(before)
            elif "Column(" in line:
                yield f"{table}.{found[1]}", _sentence(before)
        before = []


def _sentence(lines: list[str]) -> str:
    return " ".join(lines).replace("|", "\\|")

"""The table of all errors."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from types import ModuleType

from cadasta.workertoolbox import conf, results, routing


def text() -> str:
    """Return the tables as Markdown, one for each package."""
    return "\n".join(
        f"## {each.__name__}\n\n| error | built-in | raised when |\n|---|---|---|\n"
        + "".join(sorted(_rows(each)))
        for each in (routing, results, conf)
    )


def _rows(package: ModuleType) -> Iterator[str]:
    for name in package.__all__:
        error = getattr(package, name)
        if isinstance(error, type) and issubclass(error, Exception):
            builtins = [
                f"`{base.__name__}`"
                for base in error.__mro__[1:]
                if base.__module__ == "builtins" and base is not object
            ]
            meaning = inspect.cleandoc(error.__doc__ or "").partition("\n\n")[0]
            shown = f"{{py:class}}`{name} <{package.__name__}.{name}>`"
            line = " ".join(meaning.replace("|", "\\|").split())
            yield f"| {shown} | {builtins[0]} | {line} |\n"

"""The frames of a traceback that belong to the service itself."""

from __future__ import annotations

import os
from functools import lru_cache
from pathlib import PurePath
from types import CodeType, FrameType, TracebackType
from typing import Any, cast

from celery import Task

#: Packages that run a task and are never the place where it failed, wherever they are
#: installed.
RUNNERS = ("celery", "kombu", "billiard", "amqp", "vine", "cadasta.workertoolbox")

#: The folder of the standard library, as its frames name it.
_STANDARD_LIBRARY = os.path.join(os.path.dirname(os.__file__), "")

#: Folders into which packages are installed.
INSTALLED = frozenset(("site-packages", "dist-packages"))

#: Frames that only some versions of Python have: comprehensions, up to 3.11.
_INLINED = ("<listcomp>", "<setcomp>", "<dictcomp>")

#: Maximum number of characters of a frame's name.
MAX_NAME = 200

#: The frame in which Celery raises the error of the last retry again.
_RETRY: CodeType = cast(Any, Task.retry).__code__


def own_frames(
    traceback: TracebackType | None, package: str, *, limit: int
) -> tuple[str, ...]:
    """Return the service's own functions in a traceback, nearest to the error first.

    A function that calls itself, or that raises the same error again, is named once.

    Args:
        package: The top package of the task. It belongs to the service even if it is
            installed among the libraries.
        limit: Maximum number of functions.

    Returns:
        Names such as `export.tasks.fetch`, without numbers of lines.
    """
    found: dict[str, None] = {}
    earlier = found
    while traceback is not None:
        if traceback.tb_frame.f_code is _RETRY:
            # The frames up to here say where the error was raised again.
            earlier, found = found or earlier, {}
        elif (name := _own_name(traceback.tb_frame, package)) is not None:
            found.pop(name, None)
            found[name] = None
        traceback = traceback.tb_next
    names = reversed(found or earlier)
    return tuple(name for name, _ in zip(names, range(limit), strict=False))


def _own_name(frame: FrameType, package: str) -> str | None:
    code = frame.f_code
    # The globals may be an instance of another class, with another `get`.
    module = dict.get(frame.f_globals, "__name__")
    module = module if isinstance(module, str) else ""
    if code.co_name in _INLINED or not _is_own(code.co_filename, module, package):
        return None
    return f"{module}.{code.co_qualname}"[:MAX_NAME]


@lru_cache(maxsize=4096)
def _is_own(path: str, module: str, package: str) -> bool:
    if any(f"{module}.".startswith(f"{runner}.") for runner in RUNNERS):
        return False
    if path.startswith("<"):  # Frozen or generated code.
        return False
    if not INSTALLED.isdisjoint(PurePath(path).parts):
        return module.partition(".")[0] == package
    return not path.startswith(_STANDARD_LIBRARY)

"""The packages that the pages need: the extra `web`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from cadasta.workertoolbox.results._errors import WebUnavailable

#: The modules of the extra, and of what it depends on.
_MODULES = frozenset(
    ("anyio", "itsdangerous", "jinja2", "markupsafe", "starlette", "uvicorn")
)


@contextmanager
def installed_extra() -> Iterator[None]:
    """Turn the error of an import of a missing package into one that says what to do.

    Raises:
        WebUnavailable: A package of the extra is not installed.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        missing = (error.name or "").partition(".")[0]
        if missing not in _MODULES:
            raise
        raise WebUnavailable(missing) from error

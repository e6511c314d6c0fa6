"""Libraries that the extras of this package install."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version

from cadasta.workertoolbox.routing._errors import MissingExtra

#: The distributions that have the extras. A service that runs tasks installed the first
#: one, and does not name the second one itself.
_DISTRIBUTIONS = ("workertoolbox-conf", "workertoolbox-routing")


@contextmanager
def extra(name: str, *libraries: str, url: str | None = None) -> Iterator[None]:
    """Say which extra to install if an import in the block fails.

    Args:
        libraries: Modules to import first, because kombu fails with another error, or
            not at all, if they are missing.
        url: The form of the broker URL for which the extra is enough.

    Raises:
        MissingExtra: A module cannot be imported.
    """
    try:
        for library in libraries:
            import_module(library)
        yield
    except ImportError as error:
        # Without the cause, whose text the error contains.
        raise MissingExtra(f"{_installed()}[{name}]", str(error), url) from None


def _installed() -> str:
    for distribution in _DISTRIBUTIONS:
        try:
            version(distribution)
        except PackageNotFoundError:
            continue
        return distribution
    return _DISTRIBUTIONS[-1]

"""Report the installed releases."""

from __future__ import annotations

import platform
from collections.abc import Iterator
from importlib.metadata import version

from cadasta.workertoolbox.conf.checkup._context import CheckContext
from cadasta.workertoolbox.conf.checkup._finding import Finding, ok

_DISTRIBUTIONS = (
    "workertoolbox-conf",
    "workertoolbox-results",
    "workertoolbox-routing",
    "celery",
    "kombu",
    "SQLAlchemy",
)


def versions(context: CheckContext) -> Iterator[Finding]:
    """Report the versions that belong in a bug report."""
    releases = [f"{name} {version(name)}" for name in _DISTRIBUTIONS]
    yield ok("versions", ", ".join([*releases, f"Python {platform.python_version()}"]))

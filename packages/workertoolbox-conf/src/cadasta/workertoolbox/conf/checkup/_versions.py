"""Which releases run here."""

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
    """Say what a report of a fault has to name."""
    found = [f"{name} {version(name)}" for name in _DISTRIBUTIONS]
    yield ok("versions", ", ".join([*found, f"Python {platform.python_version()}"]))

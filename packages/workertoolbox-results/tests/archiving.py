"""Archiving the results of a backend at once."""

from __future__ import annotations

from typing import Any

from sqlalchemy import create_engine

from cadasta.workertoolbox.results._history.archiver import archive_batch
from cadasta.workertoolbox.results._history.ended_tasks import ArchiveOptions
from cadasta.workertoolbox.results.backend import Backend


def archive(backend: Backend, **options: Any) -> int:
    """Archive the results that are stored, and return their number."""
    engine = create_engine(backend.database.engine.url)
    with engine.begin() as connection:
        count = archive_batch(connection, ArchiveOptions(delay_s=0, **options))
    engine.dispose()
    return count
